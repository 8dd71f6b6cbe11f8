import { Effect, FiberSet, Metric } from "effect";

import type { Job } from "../domain/Job.ts";
import type { ActiveJob } from "./ActiveJobs.ts";
import { makeJobRun, type WorkerState } from "./JobRun.ts";
import { Delivery } from "./reports/Delivery.ts";
import { failureBody } from "./reports/JobResult.ts";
import type { Taken } from "./runpod/TakenJobs.ts";

const jobsTaken = Metric.counter("worker_jobs_taken", { incremental: true });

/**
 * Makes a function that starts the jobs of a take, each in a fiber that is added to `fibers`. These fibers are
 * interruptible only while they wait. The function itself must run uninterruptible, so that no job is lost.
 */
export const makeJobStart = Effect.fnUntraced(function* (afterReport: Effect.Effect<unknown>) {
  const delivery = yield* Delivery;
  const runJob = yield* makeJobRun(afterReport);

  const runUntilDelivered = Effect.fnUntraced(function* <R>(
    state: WorkerState<R>,
    job: Job,
    entry: ActiveJob,
    earlier: Effect.Effect<void>,
  ) {
    const delivered = yield* runJob(state, job, entry, earlier, yield* Effect.scope);
    yield* Effect.interruptible(delivered.await);
  }, Effect.scoped);

  return <R>(state: WorkerState<R>, fibers: FiberSet.FiberSet<void>) => {
    const { activeJobs } = state;

    const launch = (fiber: Effect.Effect<void, never, R>) =>
      fiber.pipe(
        Effect.forkDetach({ uninterruptible: true }),
        Effect.flatMap((forked) => FiberSet.add(fibers, forked)),
      );

    const reject = Effect.fnUntraced(function* ({ id, problem }: Taken["invalid"][number]) {
      yield* Effect.logError(problem);
      if (id === undefined) return;
      const body = failureBody(`Invalid job. ${problem}`);
      yield* launch(
        delivery.accept({ jobId: id, body, isStream: false }, Effect.void, Effect.void),
      );
    });

    const start = Effect.fnUntraced(function* (job: Job) {
      const { id } = job;
      const earlier = activeJobs.find(id);
      const isStopping = earlier?.stopReason() === "stopped by RunPod";
      if ((earlier !== undefined && !isStopping) || activeJobs.isUndelivered(id)) {
        return yield* Effect.logWarning(
          `Ignoring duplicate delivery of job ${id}: already running, or its result is not delivered yet`,
        );
      }
      const entry = yield* activeJobs.add(id);
      yield* Metric.update(jobsTaken, 1);
      yield* launch(
        runUntilDelivered(state, job, entry, earlier?.awaitRemoval ?? Effect.void).pipe(
          Effect.withSpan("Worker.job", { attributes: { "job.id": id } }),
          Effect.annotateLogs({ requestId: id }),
        ),
      );
    });

    return Effect.fnUntraced(function* ({ jobs, invalid }: Taken) {
      yield* Effect.forEach(invalid, reject, { discard: true });
      yield* Effect.forEach(jobs, start, { discard: true });
    });
  };
});
