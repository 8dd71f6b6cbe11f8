import { type Duration, Effect, FiberSet, Option } from "effect";

import * as Setting from "../settings/Setting.ts";
import type { ActiveJobs } from "./ActiveJobs.ts";

export const SHUTDOWN_GRACE = Setting.optionalSeconds({
  name: "WORKER_SHUTDOWN_GRACE",
  doc: "Maximum time for running jobs to finish after SIGTERM; then they are stopped and reported as failed.",
});

/** Waits until all jobs have finished; after the grace period, if there is one, stops those that still run. */
export const drainJobs = Effect.fnUntraced(function* (
  activeJobs: ActiveJobs,
  fibers: FiberSet.FiberSet<void>,
  grace: Option.Option<Duration.Duration>,
) {
  if (activeJobs.count() > 0) {
    yield* Effect.logInfo(`Draining: waiting for ${activeJobs.count()} running jobs`);
  }
  const ended = FiberSet.awaitEmpty(fibers);
  if (Option.isSome(grace)) {
    const inTime = yield* Effect.timeoutOption(ended, grace.value);
    if (Option.isNone(inTime)) {
      yield* Effect.logWarning(
        `${activeJobs.count()} jobs did not finish within WORKER_SHUTDOWN_GRACE: stopping them`,
      );
      yield* Effect.forEach(activeJobs.all(), (job) => job.stop("shut down"), {
        concurrency: "unbounded",
        discard: true,
      });
    }
  }
  yield* ended;
});
