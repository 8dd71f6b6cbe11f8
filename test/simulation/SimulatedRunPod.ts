import { Effect, Layer, Option } from "effect";
import {
  HttpClient,
  HttpClientError,
  type HttpClientRequest,
  HttpClientResponse,
} from "effect/http";

import type { SeededRandom } from "../support/values/Random.ts";
import type { Journal } from "./Journal.ts";

/** The probabilities of faults. */
export interface Faults {
  readonly take: number;
  readonly stop: number;
  readonly done: number;
  readonly stream: number;
  readonly ping: number;
  /** A job is delivered again. */
  readonly duplicate: number;
  /** A result is rejected because of its content, or permanently. */
  readonly refusal: number;
}

export interface SimulatedJob {
  readonly id: string;
  readonly input: unknown;
}

type ResponseEffect = Effect.Effect<
  HttpClientResponse.HttpClientResponse,
  HttpClientError.HttpClientError
>;

/** How long a poll is held open, in milliseconds. */
const POLL_DURATION = 20_000;

/** The id of a result that belongs to no job and is as large as the memory limit for results. */
export const CAPACITY_CHECK = "capacity-check";

const respond = (
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

/** RunPod's side of the queue in memory, with the clock of the fiber and random faults. */
export const simulatedRunPod = (journal: Journal, random: SeededRandom, faults: Faults) => {
  const queued: Array<SimulatedJob> = [];
  const delivered: Array<SimulatedJob> = [];
  const stops: Array<string> = [];
  /** Requests with values of generators that have no response yet. */
  const pendingValues = new Set<HttpClientRequest.HttpClientRequest>();
  let inFlight = 0;
  let takes = 0;

  const latency = () => Effect.sleep(random.between(1, 400));

  /** No response, a connection reset or an error status. */
  const fault = (
    request: HttpClientRequest.HttpClientRequest,
    statuses: readonly [number, ...ReadonlyArray<number>],
  ): ResponseEffect => {
    const status = random.pick([...statuses, 0, 0, -1]);
    if (status === -1) return Effect.never;
    return status === 0
      ? Effect.fail(reset(request))
      : Effect.succeed(respond(request, status, Effect.as(latency(), "<html>")));
  };

  /** Waits until a condition is met, for as long as a poll is held open. */
  const waitUntil = (isMet: () => boolean) =>
    Effect.gen(function* () {
      const step = random.between(400, 2000);
      for (let waited = 0; waited < POLL_DURATION && !isMet(); waited += step)
        yield* Effect.sleep(step);
      return isMet();
    });

  const nextJobs = (count: number): ReadonlyArray<SimulatedJob> => {
    const jobs = queued.splice(0, count);
    const again = random.hits(faults.duplicate) ? delivered.at(-1) : undefined;
    delivered.push(...jobs);
    return again === undefined ? jobs : [again, ...jobs];
  };

  const take = Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
    url: URL,
  ): Effect.fn.Return<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> {
    takes += 1;
    yield* latency();
    if (random.hits(faults.take)) return yield* fault(request, [500, 502, 429, 400, 204]);
    if (!(yield* waitUntil(() => queued.length > 0))) return respond(request, 204);
    const count = Number(url.searchParams.get("batch_size") ?? "1");
    const jobs = nextJobs(random.hits(0.05) ? count + 1 : count);
    if (random.hits(faults.take / 4)) {
      // The response is incomplete, and RunPod sends these jobs to another worker.
      return respond(request, 200, Effect.andThen(latency(), Effect.fail(reset(request))));
    }
    const body = JSON.stringify(url.searchParams.has("batch_size") ? jobs : jobs[0]);
    const sent = url.searchParams.has("batch_size") ? jobs : jobs.slice(0, 1);
    queued.unshift(...jobs.slice(sent.length));
    return respond(
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
    if (random.hits(faults.stop)) return yield* fault(request, [500, 429, 204]);
    if (!(yield* waitUntil(() => stops.length > 0))) return respond(request, 204);
    const ids = stops.splice(0);
    return respond(
      request,
      200,
      Effect.sync(() => JSON.stringify({ jobsToStop: ids })),
    );
  });

  const done = Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
    id: string,
  ): Effect.fn.Return<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> {
    if (id === CAPACITY_CHECK) return respond(request, 200);
    yield* latency();
    const text = textOf(request);
    if (text.startsWith('{"status":"IN_PROGRESS"')) {
      journal.progress(id);
      return respond(request, 200);
    }
    if ([...pendingValues].some(({ url }) => url.includes(`/${id}?`))) {
      journal.violation(`the result of ${id} came before one of its values`);
    }
    if (random.hits(faults.refusal)) return respond(request, random.pick([400, 413, 404, 401]));
    if (random.hits(faults.done)) {
      return yield* fault(request, [500, 502, 429, 408]);
    }
    if (random.hits(0.1)) yield* Effect.sleep(random.between(500, 5000));
    journal.acknowledged(id, text);
    return respond(request, 200);
  });

  const stream = Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
    id: string,
  ): Effect.fn.Return<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> {
    pendingValues.add(request);
    yield* latency();
    if (random.hits(faults.stream)) return yield* fault(request, [500, 429, 404]);
    if (!journal.isOpen(id)) journal.violation(`a value of ${id} came after its result`);
    return respond(request, 200);
  });

  const ping = Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
    url: URL,
  ): Effect.fn.Return<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> {
    const ids = url.searchParams.get("job_id")?.split(",") ?? [];
    const responded = journal.ping(ids);
    yield* latency();
    if (random.hits(faults.ping)) {
      const failed = yield* Effect.exit(fault(request, [500, 429]));
      responded();
      return yield* failed;
    }
    responded();
    return respond(request, 200);
  });

  const client = HttpClient.make((request, url) =>
    Effect.suspend(() => {
      const [, route = "", , id = ""] = url.pathname.split("/");
      const routes: Readonly<Record<string, () => ResponseEffect>> = {
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
        onNone: () => Effect.succeed(respond(request, 404)),
        onSome: (handle) => handle(),
      }).pipe(
        Effect.ensuring(
          Effect.sync(() => {
            inFlight -= 1;
            pendingValues.delete(request);
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
    /** Stops a job. */
    stop: (id: string) => {
      stops.push(id);
    },
    waiting: () => queued.length,
    inFlight: () => inFlight,
    takes: () => takes,
  };
};
