import { Duration, Effect, Fiber, Option } from "effect";

import { JobListener } from "../../domain/JobEvents.ts";
import { Drain } from "../../endpoint/Drain.ts";
import { LocalQueue } from "../../endpoint/jobs/LocalQueue.ts";
import { SHUTDOWN_GRACE } from "../../queue/Draining.ts";
import type { Handler } from "../../queue/Handler.ts";
import { QueueWorker } from "../../queue/QueueWorker.ts";
import { liveOutput } from "../process/LiveOutput.ts";
import { Shutdown } from "../process/Shutdown.ts";

/** Time for clients to fetch the results of jobs that were stopped after WORKER_SHUTDOWN_GRACE. */
const FETCH_TIMEOUT = Duration.seconds(5);

/** Cancels queued jobs; clients that wait for them get a response. */
const cancelQueued = Effect.gen(function* () {
  const waiting = yield* (yield* LocalQueue).purge;
  if (waiting > 0) yield* Effect.logWarning(`Cancelled ${waiting} queued jobs`);
});

/** Logs a shutdown request. */
export const logShutdown = Effect.gen(function* () {
  yield* (yield* Shutdown).requested;
  yield* Effect.logInfo(
    "Draining: refusing new jobs, waiting for running ones. Press Ctrl-C again to stop them immediately",
  );
});

/** After a shutdown request: refuses new jobs while running jobs finish. */
const drainWhenRequested = Effect.gen(function* () {
  yield* (yield* Shutdown).requested;
  yield* (yield* Drain).begin;
  yield* (yield* QueueWorker).drain;
  yield* cancelQueued;
});

/** Completes after WORKER_SHUTDOWN_GRACE and FETCH_TIMEOUT, counted from the shutdown request. */
const shutdownLimit = Effect.gen(function* () {
  const grace = yield* SHUTDOWN_GRACE.value;
  if (Option.isNone(grace)) return yield* Effect.never;
  yield* (yield* Shutdown).requested;
  yield* Effect.sleep(Duration.sum(grace.value, FETCH_TIMEOUT));
});

interface Work<E, R, R2> {
  readonly handler: Handler<R>;
  /** Starts what jobs need before the first job. */
  readonly warm: Effect.Effect<unknown, E, R2>;
  /** Whether the next process runs unfinished jobs again. */
  readonly isPersistent: boolean;
}

/** Runs the jobs of a local queue until shutdown is requested, then waits for running jobs. */
export const work = Effect.fn("serve.work")(function* <
  E extends { readonly message: string },
  R,
  R2,
>({ handler, warm, isPersistent }: Work<E, R, R2>) {
  const worker = yield* QueueWorker;
  const drain = yield* Drain;
  yield* Effect.forkScoped(
    Effect.catch(warm, ({ message }) => Effect.logWarning(`Not ready yet: ${message}`)),
  );
  const run = Effect.provideService(worker.run(handler), JobListener, liveOutput);
  // There is nothing to wait for.
  if (isPersistent) {
    yield* run;
    return;
  }
  yield* Effect.forkScoped(drainWhenRequested);
  const limitFiber = yield* Effect.forkScoped(shutdownLimit);
  yield* run;
  // Jobs that were submitted while the worker was draining.
  yield* cancelQueued;
  yield* Effect.raceFirst(
    Effect.andThen(drain.requestsFinished, drain.pollingFinished),
    Fiber.join(limitFiber),
  );
});
