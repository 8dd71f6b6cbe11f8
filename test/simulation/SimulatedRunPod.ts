import { Effect, Layer, Option } from "effect";
import {
  HttpClient,
  HttpClientError,
  type HttpClientRequest,
  HttpClientResponse,
} from "effect/http";

import type { SeededRandom } from "../support/values/Random.ts";
import type { Journal } from "./Journal.ts";

/** How often what goes wrong: probabilities. */
export interface Faults {
  readonly take: number;
  readonly stop: number;
  readonly done: number;
  readonly stream: number;
  readonly ping: number;
  /** An idle or busy worker gets a job again that it had. */
  readonly duplicate: number;
  /** A result is refused for its content, or permanently. */
  readonly refusal: number;
}

export interface SimulatedJob {
  readonly id: string;
  readonly input: unknown;
}

type Answer = Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError>;

/** How long a poll is held open, in milliseconds. */
const HELD = 20_000;

/** A result that is as large as all the room for results, and no job's. */
export const ROOM_CHECK = "room-check";

const answer = (
  request: HttpClientRequest.HttpClientRequest,
  status: number,
  text: Effect.Effect<string, HttpClientError.HttpClientError> = Effect.succeed(""),
): HttpClientResponse.HttpClientResponse =>
  Object.create(HttpClientResponse.fromWeb(request, new Response(null, { status })), {
    text: { value: text },
    arrayBuffer: { value: Effect.as(text, new ArrayBuffer(0)) },
  });

const reset = (request: HttpClientRequest.HttpClientRequest) =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.TransportError({ request, cause: new Error("ECONNRESET") }),
  });

const textOf = (request: HttpClientRequest.HttpClientRequest): string =>
  request.body._tag === "Uint8Array" ? Buffer.from(request.body.body).toString() : "";

/** RunPod's side of the queue in memory, which has its time from the fiber's clock and its faults from the seed. */
export const simulatedRunPod = (journal: Journal, dice: SeededRandom, faults: Faults) => {
  const queued: Array<SimulatedJob> = [];
  const given: Array<SimulatedJob> = [];
  const stops: Array<string> = [];
  const asked = new Set<string>();
  const accepted = new Map<string, string>();
  /** Values of generators. */
  const onTheirWay = new Set<HttpClientRequest.HttpClientRequest>();
  let inFlight = 0;
  let takes = 0;

  const latency = () => Effect.sleep(dice.between(1, 400));

  /** Something other than an answer, or an answer that says that it failed. */
  const fault = (
    request: HttpClientRequest.HttpClientRequest,
    statuses: readonly [number, ...ReadonlyArray<number>],
  ): Answer => {
    const status = dice.pick([...statuses, 0, 0, -1]);
    if (status === -1) return Effect.never;
    return status === 0
      ? Effect.fail(reset(request))
      : Effect.succeed(answer(request, status, Effect.as(latency(), "<html>")));
  };

  /** Waits until there is something, for as long as a poll is held open. */
  const held = (isThere: () => boolean) =>
    Effect.gen(function* () {
      const step = dice.between(400, 2000);
      for (let waited = 0; waited < HELD && !isThere(); waited += step) yield* Effect.sleep(step);
      return isThere();
    });

  const nextJobs = (count: number): ReadonlyArray<SimulatedJob> => {
    const jobs = queued.splice(0, count);
    const again = dice.hits(faults.duplicate) ? given.at(-1) : undefined;
    given.push(...jobs);
    return again === undefined ? jobs : [again, ...jobs];
  };

  const take = Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
    url: URL,
  ): Effect.fn.Return<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> {
    takes += 1;
    yield* latency();
    if (dice.hits(faults.take)) return yield* fault(request, [500, 502, 429, 400, 204]);
    if (!(yield* held(() => queued.length > 0))) return answer(request, 204);
    const count = Number(url.searchParams.get("batch_size") ?? "1");
    const jobs = nextJobs(dice.hits(0.05) ? count + 1 : count);
    if (dice.hits(faults.take / 4)) {
      // The response breaks off half-way, and the service gives these jobs to another worker.
      return answer(request, 200, Effect.andThen(latency(), Effect.fail(reset(request))));
    }
    const body = JSON.stringify(url.searchParams.has("batch_size") ? jobs : jobs[0]);
    const sent = url.searchParams.has("batch_size") ? jobs : jobs.slice(0, 1);
    queued.unshift(...jobs.slice(sent.length));
    return answer(
      request,
      200,
      latency().pipe(
        Effect.andThen(
          Effect.sync(() => {
            for (const { id } of sent) journal.delivered(id);
            return body;
          }),
        ),
      ),
    );
  });

  const stop = Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
  ): Effect.fn.Return<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> {
    yield* latency();
    if (dice.hits(faults.stop)) return yield* fault(request, [500, 429, 204]);
    if (!(yield* held(() => stops.length > 0))) return answer(request, 204);
    const ids = stops.splice(0);
    return answer(
      request,
      200,
      Effect.sync(() => JSON.stringify({ jobsToStop: ids })),
    );
  });

  const done = Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
    id: string,
  ): Effect.fn.Return<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> {
    if (id === ROOM_CHECK) return answer(request, 200);
    yield* latency();
    const text = textOf(request);
    if (text.startsWith('{"status":"IN_PROGRESS"')) {
      journal.progress(id);
      return answer(request, 200);
    }
    if ([...onTheirWay].some(({ url }) => url.includes(`/${id}?`))) {
      journal.violation(`the result of ${id} overtook a value of it`);
    }
    if (dice.hits(faults.refusal)) return answer(request, dice.pick([400, 413, 404, 401]));
    if (dice.hits(faults.done)) {
      // Half of these are taken, and the worker can't know.
      if (dice.hits(0.5)) accepted.set(id, text);
      return yield* fault(request, [500, 502, 429, 408]);
    }
    if (dice.hits(0.1)) yield* Effect.sleep(dice.between(500, 5000));
    accepted.set(id, text);
    journal.acknowledged(id, text);
    return answer(request, 200);
  });

  const stream = Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
    id: string,
  ): Effect.fn.Return<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> {
    onTheirWay.add(request);
    yield* latency();
    if (dice.hits(faults.stream)) return yield* fault(request, [500, 429, 404]);
    if (!journal.isOpen(id)) journal.violation(`a value of ${id} came after its result`);
    return answer(request, 200);
  });

  const ping = Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
    url: URL,
  ): Effect.fn.Return<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> {
    const ids = url.searchParams.get("job_id")?.split(",") ?? [];
    const answered = journal.ping(ids);
    yield* latency();
    if (dice.hits(faults.ping)) {
      const failed = yield* Effect.exit(fault(request, [500, 429]));
      answered();
      return yield* failed;
    }
    answered();
    return answer(request, 200);
  });

  const client = HttpClient.make((request, url) =>
    Effect.suspend(() => {
      const [, route = "", , id = ""] = url.pathname.split("/");
      const routes: Readonly<Record<string, () => Answer>> = {
        "job-take": () => take(request, url),
        "job-take-batch": () => take(request, url),
        "job-stop": () => stop(request),
        "job-done": () => done(request, decodeURIComponent(id)),
        "job-stream": () => stream(request, decodeURIComponent(id)),
        ping: () => ping(request, url),
      };
      inFlight += 1;
      const handled = Option.fromUndefinedOr(routes[route]);
      return Option.match(handled, {
        onNone: () => Effect.succeed(answer(request, 404)),
        onSome: (handle) => handle(),
      }).pipe(
        Effect.ensuring(
          Effect.sync(() => {
            inFlight -= 1;
            onTheirWay.delete(request);
          }),
        ),
      );
    }),
  );

  return {
    layer: Layer.succeed(HttpClient.HttpClient, client),
    submit: (job: SimulatedJob) => {
      queued.push(job);
    },
    /** Asks for the end of a job. */
    stop: (id: string) => {
      asked.add(id);
      stops.push(id);
    },
    wasAskedToStop: (id: string) => asked.has(id),
    waiting: () => queued.length,
    accepted: (id: string) => accepted.get(id),
    inFlight: () => inFlight,
    takes: () => takes,
  };
};
