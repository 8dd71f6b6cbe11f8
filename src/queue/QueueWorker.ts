import { Context, Effect, Exit, Fiber, FiberSet, Latch, Layer, Ref, Scope } from "effect";

import { CONCURRENCY } from "../settings/Concurrency.ts";
import { makeActiveJobs } from "./ActiveJobs.ts";
import { drainJobs, SHUTDOWN_GRACE } from "./Draining.ts";
import type { Handler } from "./Handler.ts";
import { REFRESH } from "./JobOutcome.ts";
import { JobQueue } from "./JobQueue.ts";
import type { Summary } from "./JobRun.ts";
import { makeJobStart } from "./JobStart.ts";
import { stopLoop } from "./StopLoop.ts";
import { type Admission, ADMIT_ALL, takeLoop } from "./TakeLoop.ts";
import { Delivery } from "./reports/Delivery.ts";
import { Heartbeat } from "./reports/Heartbeat.ts";

/** Takes jobs from RunPod's queue, runs the handler for each one, and sends the results. */
export class QueueWorker extends Context.Service<
  QueueWorker,
  {
    /** Takes jobs until `drain` runs; returns when all jobs have finished and all results are delivered. */
    readonly run: <R>(
      handler: Handler<R>,
      admission?: Admission,
    ) => Effect.Effect<Summary, never, R>;
    /** Changes the number of concurrent jobs, which is WORKER_CONCURRENCY at first. */
    readonly setConcurrency: (jobs: number) => Effect.Effect<void>;
    /** Stops taking jobs. */
    readonly drain: Effect.Effect<void>;
  }
>()("worker-tetra/queue/QueueWorker") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const queue = yield* JobQueue;
      const delivery = yield* Delivery;
      const heartbeat = yield* Heartbeat;
      const activeJobs = yield* makeActiveJobs(yield* CONCURRENCY.value);
      const grace = yield* SHUTDOWN_GRACE.value;
      const refresh = yield* REFRESH.value;
      const draining = Latch.makeUnsafe();
      const startJobs = yield* makeJobStart(refresh ? draining.open : Effect.void);

      const run = Effect.fn("Worker.run")(function* <R>(
        handler: Handler<R>,
        admission: Admission = ADMIT_ALL,
      ): Effect.fn.Return<Summary, never, R | Scope.Scope> {
        const fibers = yield* FiberSet.make<void>();
        const summary = yield* Ref.make<Summary>({ done: 0, failed: 0, stopped: 0 });
        yield* Effect.forkScoped(delivery.resume);
        yield* Effect.forkScoped(heartbeat.beat(activeJobs.ids));
        const taking = takeLoop(
          queue,
          activeJobs,
          admission,
          startJobs({ handler, activeJobs, summary }, fibers),
        );
        const loops = yield* Effect.forkScoped(
          queue.canStop ? Effect.raceFirst(taking, stopLoop(queue, activeJobs, fibers)) : taking,
        );
        const end = yield* Effect.exit(Effect.raceFirst(draining.await, Fiber.join(loops)));
        yield* Fiber.interrupt(loops);
        // A defect in a loop also ends the worker, but its running jobs are finished first.
        yield* drainJobs(activeJobs, fibers, grace);
        yield* delivery.idle;
        if (Exit.isFailure(end)) return yield* Effect.failCause(end.cause);
        return yield* Ref.get(summary);
      }, Effect.scoped);

      return QueueWorker.of({
        run,
        setConcurrency: activeJobs.resize,
        drain: Effect.asVoid(draining.open),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([Delivery.layer, Heartbeat.layer, JobQueue.layer]),
  );
}
