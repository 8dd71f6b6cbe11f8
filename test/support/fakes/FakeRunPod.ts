import { type IncomingMessage, type ServerResponse } from "node:http";

import { Clock, Effect } from "effect";

import { makeCondition } from "../effects/Condition.ts";
import { loopbackServer, bodyOf, respondJson } from "../http/LoopbackServer.ts";

/** A failure of one request. */
export type Fault =
  | { readonly kind: "status"; readonly status: number; readonly body?: string }
  /** The connection is reset without a response; `taken` if the service has processed the request. */
  | { readonly kind: "reset"; readonly taken?: boolean }
  /** The response is truncated. */
  | { readonly kind: "cut"; readonly body: string }
  /** There is no response. */
  | { readonly kind: "hang" };

type Route = "take" | "stop" | "done" | "stream" | "ping";

interface Posted {
  readonly id: string;
  readonly text: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly isStream: string | null;
  readonly headers: IncomingMessage["headers"];
  /** Time of arrival in milliseconds. */
  readonly at: number;
}

/** RunPod's API for workers, on loopback. */
export interface FakeRunPod {
  /** The environment variables that RunPod sets for a worker. */
  readonly variables: Readonly<Record<string, string>>;
  /** Puts a job into the queue and returns its id. */
  readonly submit: (input: unknown, id?: string) => string;
  /** Sets the exact body of the response to the next take request. */
  readonly answer: (text: string, contentType?: string) => void;
  /** Requests the cancellation of a job. */
  readonly stop: (id: string) => void;
  /** The first result of a job. */
  readonly result: (id: string) => Effect.Effect<Posted>;
  readonly results: ReadonlyArray<Posted>;
  readonly progress: ReadonlyArray<Posted>;
  readonly chunks: (id: string) => ReadonlyArray<unknown>;
  /** The job ids and the query of each heartbeat. */
  readonly pings: ReadonlyArray<{
    readonly ids: ReadonlyArray<string>;
    readonly query: URLSearchParams;
  }>;
  /** Every request in order, as `route path?query`. */
  readonly requests: ReadonlyArray<{
    readonly route: Route;
    readonly url: URL;
    readonly at: number;
  }>;
  /** Waits until a condition of the received requests is true. */
  readonly until: (isSo: () => boolean) => Effect.Effect<void>;
  /** Waits until this many requests of a route have arrived in total. */
  readonly seen: (route: Route, count: number) => Effect.Effect<void>;
  /** Sets the failures of further requests of a route, by their number from 0. */
  readonly faults: (route: Route, fault: (number: number) => Fault | undefined) => void;
}

export interface FakeRunPodOptions {
  /** How long a poll waits for a job, in milliseconds. */
  readonly hold?: number;
}

const ROUTES: ReadonlyArray<readonly [string, Route]> = [
  ["/job-take/", "take"],
  ["/job-take-batch/", "take"],
  ["/job-stop/", "stop"],
  ["/job-done/", "done"],
  ["/job-stream/", "stream"],
  ["/ping/", "ping"],
];

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const respondEmpty = (response: ServerResponse) => {
  response.writeHead(204).end();
};

const post = (url: URL, text: string, request: IncomingMessage, at: number): Posted => {
  const id = decodeURIComponent(url.pathname.split("/").at(-1) ?? "");
  const body: unknown = JSON.parse(text);
  return {
    id,
    text,
    body: isRecord(body) ? body : {},
    isStream: url.searchParams.get("isStream"),
    headers: request.headers,
    at,
  };
};

export const fakeRunPod = Effect.fnUntraced(function* ({ hold = 5000 }: FakeRunPodOptions = {}) {
  const clock = yield* Clock.Clock;
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6;
  let number = 0;
  const queued: Array<{ readonly id: string; readonly input?: unknown }> = [];
  const raw: Array<{ readonly text: string; readonly contentType: string }> = [];
  const stops: Array<string> = [];
  const results: Array<Posted> = [];
  const progress: Array<Posted> = [];
  const chunks = new Map<string, Array<unknown>>();
  const pings: Array<FakeRunPod["pings"][number]> = [];
  const requests: Array<FakeRunPod["requests"][number]> = [];
  const faults = new Map<Route, { count: number; fault: (number: number) => Fault | undefined }>();
  const wakers = new Set<() => void>();
  const condition = makeCondition();
  const firsts = new Map<string, Posted>();

  const keep = (posted: Posted): void => {
    results.push(posted);
    if (!firsts.has(posted.id)) firsts.set(posted.id, posted);
  };

  const notifyAll = (): void => {
    for (const wake of wakers) wake();
    condition.notify();
  };

  /** Waits until a condition is true, the client disconnects, or the time of a poll is over. */
  const longPoll = (response: ServerResponse, isThere: () => boolean): Promise<boolean> =>
    new Promise((resolve) => {
      const end = (found: boolean) => {
        clearTimeout(timer);
        wakers.delete(wake);
        resolve(found);
      };
      const wake = () => {
        if (isThere()) end(true);
      };
      const timer = setTimeout(() => end(isThere()), hold);
      response.once("close", () => end(false));
      wakers.add(wake);
      wake();
    });

  const handlers: Readonly<
    Record<
      Route,
      (url: URL, text: string, request: IncomingMessage, response: ServerResponse) => unknown
    >
  > = {
    take: async (url, _, __, response) => {
      if (!(await longPoll(response, () => queued.length + raw.length > 0))) {
        return response.destroyed ? undefined : respondEmpty(response);
      }
      const next = raw.shift();
      if (next !== undefined) {
        return response.writeHead(200, { "content-type": next.contentType }).end(next.text);
      }
      const batch = url.searchParams.get("batch_size");
      if (batch === null) return respondJson(response, queued.shift());
      return respondJson(response, queued.splice(0, Number(batch)));
    },
    stop: async (_, __, ___, response) => {
      if (!(await longPoll(response, () => stops.length > 0))) {
        return response.destroyed ? undefined : respondEmpty(response);
      }
      return respondJson(response, { jobsToStop: stops.splice(0) });
    },
    done: (url, text, request, response) => {
      const posted = post(url, text, request, now());
      if (posted.body["status"] === "IN_PROGRESS") progress.push(posted);
      else keep(posted);
      respondJson(response, {});
    },
    stream: (url, text, request, response) => {
      const { id, body } = post(url, text, request, now());
      chunks.set(id, [...(chunks.get(id) ?? []), body["output"]]);
      respondJson(response, {});
    },
    ping: (url, _, __, response) => {
      const ids = url.searchParams.get("job_id")?.split(",") ?? [];
      pings.push({ ids, query: url.searchParams });
      respondJson(response, {});
    },
  };

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", "http://localhost");
    const [, route] = ROUTES.find(([path]) => url.pathname.startsWith(path)) ?? [];
    if (route === undefined) {
      response.writeHead(404).end();
      return;
    }
    requests.push({ route, url, at: now() });
    notifyAll();
    const text = await bodyOf(request);
    const planned = faults.get(route);
    const fault = planned?.fault(planned.count);
    if (planned !== undefined) planned.count += 1;
    switch (fault?.kind) {
      case undefined:
        await handlers[route](url, text, request, response);
        break;
      case "status":
        response.writeHead(fault.status, { "content-type": "text/html" }).end(fault.body ?? "");
        break;
      case "reset":
        if (fault.taken === true && route === "done") keep(post(url, text, request, now()));
        request.socket.destroy();
        break;
      case "cut":
        response.writeHead(200, {
          "content-type": "application/json",
          "content-length": fault.body.length + 100,
        });
        response.write(fault.body);
        setImmediate(() => request.socket.destroy());
        break;
      case "hang":
        break;
    }
    notifyAll();
  };

  const { url: base } = yield* loopbackServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : new Error(String(error)));
    });
  });

  const { until } = condition;
  const service: FakeRunPod = {
    variables: {
      RUNPOD_WEBHOOK_GET_JOB: `${base}/job-take/$RUNPOD_POD_ID?gpu=test`,
      RUNPOD_WEBHOOK_POST_OUTPUT: `${base}/job-done/$RUNPOD_POD_ID/$ID?gpu=test`,
      RUNPOD_WEBHOOK_POST_STREAM: `${base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=test`,
      RUNPOD_WEBHOOK_PING: `${base}/ping/$RUNPOD_POD_ID?gpu=test`,
      RUNPOD_PING_INTERVAL: "200",
      RUNPOD_AI_API_KEY: "key-of-the-worker-itself",
      RUNPOD_POD_ID: "pod-1",
    },
    submit: (input, id = `job-${(number += 1)}`) => {
      queued.push(input === undefined ? { id } : { id, input });
      notifyAll();
      return id;
    },
    answer: (text, contentType = "application/json") => {
      raw.push({ text, contentType });
      notifyAll();
    },
    stop: (id) => {
      stops.push(id);
      notifyAll();
    },
    result: (id) =>
      Effect.andThen(
        until(() => firsts.has(id)),
        Effect.suspend(() => {
          const found = firsts.get(id);
          return found === undefined ? Effect.die(`no result of ${id}`) : Effect.succeed(found);
        }),
      ),
    results,
    progress,
    chunks: (id) => chunks.get(id) ?? [],
    pings,
    requests,
    until,
    seen: (route, count) =>
      until(() => requests.filter((request) => request.route === route).length >= count),
    faults: (route, fault) => {
      faults.set(route, { count: 0, fault });
    },
  };
  return service;
});
