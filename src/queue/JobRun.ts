import { Effect, Exit, Fiber, Latch, Metric, Ref, Scope } from "effect";

import type { Job } from "../domain/Job.ts";
import { Environment } from "../settings/Environment.ts";
import type { ActiveJob, ActiveJobs } from "./ActiveJobs.ts";
import type { Handler } from "./Handler.ts";
import { errorIn, firstLine, formatSeconds } from "./JobLog.ts";
import { makeJobOutcome } from "./JobOutcome.ts";
import { Delivery } from "./reports/Delivery.ts";
import { makeJobChannels } from "./reports/JobChannels.ts";

const jobsDone = Metric.counter("worker_jobs_done", { incremental: true });
const jobsStopped = Metric.counter("worker_jobs_stopped", { incremental: true });
const jobTimes = Metric.timer("worker_job_duration");

/** An open latch, for jobs without a result to deliver. */
const NO_DELIVERY = Latch.makeUnsafe(true);

/** The number of jobs of a worker by outcome. */
export interface Summary {
  readonly done: number;
  readonly failed: number;
  readonly stopped: number;
}

/** The state that all jobs of one worker share. */
export interface WorkerState<R> {
  readonly handler: Handler<R>;
  readonly activeJobs: ActiveJobs;
  readonly summary: Ref.Ref<Summary>;
}

const increment = (summary: Ref.Ref<Summary>, what: keyof Summary) =>
  Ref.update(summary, (counts) => ({ ...counts, [what]: counts[what] + 1 }));

/**
 * Waits for a slot and runs a job's code in a child fiber, which can be stopped. An interruption of the caller stops
 * the code but is not propagated, so that the job still has an outcome.
 */
const runCode = Effect.fnUntraced(function* <R>(
  code: Effect.Effect<unknown, unknown, R>,
  entry: ActiveJob,
  acquireSlot: Effect.Effect<void>,
) {
  const running = yield* acquireSlot.pipe(
    Effect.andThen(Effect.logInfo("Job started")),
    Effect.andThen(code),
    Effect.forkChild,
  );
  yield* entry.setCode(running);
  yield* Effect.interruptible(Fiber.await(running)).pipe(
    Effect.onInterrupt(() => Fiber.interrupt(running)),
    Effect.exit,
  );
  return yield* Fiber.await(running);
});

/** Updates metrics and the summary, and logs the end of a job. `error` is one line, undefined if the job succeeded. */
const logEnd = Effect.fnUntraced(function* (
  summary: Ref.Ref<Summary>,
  { elapsed }: ActiveJob,
  error: string | undefined,
) {
  const duration = yield* elapsed;
  yield* Metric.update(jobTimes, duration);
  yield* Metric.update(jobsDone, 1);
  yield* increment(summary, error === undefined ? "done" : "failed");
  yield* error === undefined
    ? Effect.logInfo(`Job done in ${formatSeconds(duration)}`)
    : Effect.logWarning(`Job failed after ${formatSeconds(duration)}: ${error}`);
});

/** Makes a function that runs a job and passes its result to `Delivery`; `afterReport` runs after each result. */
export const makeJobRun = Effect.fnUntraced(function* (afterReport: Effect.Effect<unknown>) {
  const delivery = yield* Delivery;
  const { mask } = yield* Environment;
  const openChannels = yield* makeJobChannels;
  const outcomeOf = yield* makeJobOutcome;

  /**
   * Releases the job's slot and entry when it returns. The channels are closed with `jobScope`, since they are needed
   * until the result is delivered. Returns a latch that opens on delivery.
   */
  return Effect.fnUntraced(function* <R>(
    { handler, activeJobs, summary }: WorkerState<R>,
    job: Job,
    entry: ActiveJob,
    earlier: Effect.Effect<void>,
    jobScope: Scope.Scope,
  ): Effect.fn.Return<Latch.Latch, never, R | Scope.Scope> {
    yield* Effect.addFinalizer(() => entry.remove);
    const slot = Scope.provide(activeJobs.acquireSlot, yield* Effect.scope);
    const channels = yield* Scope.provide(openChannels(handler, job), jobScope);
    const exit = yield* runCode(channels.handled, entry, Effect.andThen(earlier, slot));
    const outcome = outcomeOf(exit, entry.stopReason());
    switch (outcome._tag) {
      case "Stopped": {
        yield* increment(summary, "stopped");
        yield* Metric.update(jobsStopped, 1);
        yield* Effect.logInfo(`Job stopped by RunPod after ${formatSeconds(yield* entry.elapsed)}`);
        return NO_DELIVERY;
      }
      case "Requeued": {
        yield* Effect.logInfo("Job interrupted by shutdown: the queue will run it again");
        return NO_DELIVERY;
      }
      case "Ended": {
        const { body } = outcome;
        const error = errorIn(Exit.isSuccess(exit) ? exit.value : undefined, body);
        yield* logEnd(summary, entry, error === undefined ? undefined : firstLine(mask(error)));
        yield* activeJobs.addUndelivered(job.id);
        const delivered = yield* Latch.make();
        yield* delivery.accept(
          { jobId: job.id, body, isStream: channels.isStream() },
          channels.flush,
          Effect.andThen(activeJobs.removeUndelivered(job.id), delivered.open),
        );
        yield* afterReport;
        return delivered;
      }
    }
  }, Effect.scoped);
});
