import { Context, Duration, Effect, FiberMap, FiberSet, Latch, Layer } from "effect";
import { HttpServerResponse } from "effect/http";

import { isFinal, type JobStatus } from "../domain/EndpointJob.ts";

/** The time within which a polling client asks again: Flash polls every 5 to 10 seconds. */
const POLL_INTERVAL = Duration.seconds(10);

/** The most requests that wait for a job at a time; each takes about 50 KB besides its body. */
export const MAX_WAITING = 1000;

const tooMany = HttpServerResponse.jsonUnsafe(
  {
    error: `Too many requests: ${MAX_WAITING} are already waiting for jobs. Try again in 5 seconds, or ask for /status instead.`,
  },
  { status: 429, headers: { "retry-after": "5" } },
);

const refusal = HttpServerResponse.jsonUnsafe(
  { error: "The worker is stopping and accepts no new jobs. Send this one again later." },
  { status: 503, headers: { "retry-after": "5" } },
);

/** How an endpoint stops: new jobs are refused, and clients that wait for a job get their responses first. */
export class Drain extends Context.Service<
  Drain,
  {
    /** Refuses new jobs from now on. */
    readonly begin: Effect.Effect<void>;
    /** Runs what starts a job; responds with 503 instead when the endpoint is stopping. */
    readonly admit: <A, E, R>(
      start: Effect.Effect<A, E, R>,
    ) => Effect.Effect<A | HttpServerResponse.HttpServerResponse, E, R>;
    /**
     * Runs the handler of a request that waits for a job, and counts it as waiting until its response is written; responds
     * with 429 instead when too many wait.
     */
    readonly trackRequest: <A, E, R>(
      handled: Effect.Effect<A, E, R>,
    ) => Effect.Effect<A | HttpServerResponse.HttpServerResponse, E, R>;
    /** Records that a client has seen a job in this state; the client will ask again unless the state is final. */
    readonly trackPolling: (id: string, status: JobStatus) => Effect.Effect<void>;
    /** Completes when no request waits for a job. */
    readonly requestsFinished: Effect.Effect<void>;
    /** Completes when each polling client has seen the end of its job or has stopped polling. */
    readonly pollingFinished: Effect.Effect<void>;
  }
>()("worker-tetra/endpoint/Drain") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const draining = Latch.makeUnsafe();
      const waiting = yield* FiberSet.make();
      const followed = yield* FiberMap.make<string, void, never>();
      return Drain.of({
        begin: Effect.asVoid(draining.open),
        admit: Effect.fnUntraced(function* <A, E, R>(start: Effect.Effect<A, E, R>) {
          return draining.isOpen() ? refusal : yield* start;
        }),
        trackRequest: Effect.fnUntraced(function* <A, E, R>(handled: Effect.Effect<A, E, R>) {
          if ((yield* FiberSet.size(waiting)) >= MAX_WAITING) return tooMany;
          yield* Effect.withFiber((fiber) => FiberSet.add(waiting, fiber));
          return yield* handled;
        }),
        trackPolling: (id, status) =>
          isFinal(status)
            ? FiberMap.remove(followed, id)
            : Effect.asVoid(FiberMap.run(followed, id, Effect.sleep(POLL_INTERVAL))),
        requestsFinished: FiberSet.awaitEmpty(waiting),
        pollingFinished: FiberMap.awaitEmpty(followed),
      });
    }),
  );
}
