import { Context, Duration, Effect, FiberMap, FiberSet, Latch, Layer } from "effect";
import { HttpServerResponse } from "effect/http";

import { isFinal, type JobStatus } from "../domain/EndpointJob.ts";

/** The maximum time between two polls of a client: Flash polls every 5 to 10 seconds. */
const POLL_INTERVAL = Duration.seconds(10);

/** The maximum number of requests that wait for a job; each takes about 50 KB besides its body. */
export const MAX_WAITING = 1000;

const tooMany = HttpServerResponse.jsonUnsafe(
  {
    error: `Too many requests: ${MAX_WAITING} are already waiting for jobs. Try again in 5 seconds, or poll /status instead.`,
  },
  { status: 429, headers: { "retry-after": "5" } },
);

const stopping = HttpServerResponse.jsonUnsafe(
  { error: "The worker is stopping and accepts no new requests. Send the request again later." },
  { status: 503, headers: { "retry-after": "5" } },
);

/** The shutdown of an endpoint: it rejects new jobs, and clients that wait for a job still get their responses. */
export class Drain extends Context.Service<
  Drain,
  {
    /** Rejects new jobs from now on. */
    readonly begin: Effect.Effect<void>;
    /** Runs an effect that starts a job; responds with 503 instead while the endpoint is stopping. */
    readonly admit: <A, E, R>(
      start: Effect.Effect<A, E, R>,
    ) => Effect.Effect<A | HttpServerResponse.HttpServerResponse, E, R>;
    /**
     * Runs the handler of a request that waits for a job, and counts the request until its response is written;
     * responds with 429 instead if too many requests wait.
     */
    readonly trackRequest: <A, E, R>(
      handled: Effect.Effect<A, E, R>,
    ) => Effect.Effect<A | HttpServerResponse.HttpServerResponse, E, R>;
    /** Runs the handler of a request to an app, and counts the request until its response is written. */
    readonly trackAppRequest: <A, E, R>(handled: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>;
    /** Records that a client has seen a job with this status; the client will poll again unless the status is final. */
    readonly trackPolling: (id: string, status: JobStatus) => Effect.Effect<void>;
    /** Completes when no request waits for a job or an app. */
    readonly requestsFinished: Effect.Effect<void>;
    /** Completes when every polling client has seen the end of its job or has stopped polling. */
    readonly pollingFinished: Effect.Effect<void>;
  }
>()("worker-tetra/endpoint/Drain") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const draining = Latch.makeUnsafe();
      const waiting = yield* FiberSet.make();
      const track = Effect.withFiber<void>((fiber) => FiberSet.add(waiting, fiber));
      const polled = yield* FiberMap.make<string, void, never>();
      return Drain.of({
        begin: Effect.asVoid(draining.open),
        admit: Effect.fnUntraced(function* <A, E, R>(start: Effect.Effect<A, E, R>) {
          return draining.isOpen() ? stopping : yield* start;
        }),
        trackRequest: Effect.fnUntraced(function* <A, E, R>(handled: Effect.Effect<A, E, R>) {
          if ((yield* FiberSet.size(waiting)) >= MAX_WAITING) return tooMany;
          yield* track;
          return yield* handled;
        }),
        trackAppRequest: (handled) => Effect.andThen(track, handled),
        trackPolling: (id, status) =>
          isFinal(status)
            ? FiberMap.remove(polled, id)
            : Effect.asVoid(FiberMap.run(polled, id, Effect.sleep(POLL_INTERVAL))),
        requestsFinished: FiberSet.awaitEmpty(waiting),
        pollingFinished: FiberMap.awaitEmpty(polled),
      });
    }),
  );
}
