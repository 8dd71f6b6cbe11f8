import { Duration, Effect } from "effect";

import { jittered, requestBackoff } from "../platform/timing/Backoff.ts";
import { makeThrottledWarning } from "../platform/timing/ThrottledWarning.ts";
import { stopwatch } from "../settings/SteadyClock.ts";
import type { ActiveJobs } from "./ActiveJobs.ts";
import type { JobQueue } from "./JobQueue.ts";
import type { Taken } from "./runpod/TakenJobs.ts";

/** The minimum time between two takes after an empty response, in case RunPod responds at once. */
const EMPTY_INTERVAL = Duration.millis(520);

const RETRY_PAUSES = requestBackoff(Duration.millis(500), Duration.seconds(30));

/** Limits when a worker may take jobs, and how many. */
export interface Admission {
  /** Waits until jobs may be taken, and returns the maximum number. */
  readonly beforeTake: Effect.Effect<number>;
}

export const ADMIT_ALL: Admission = { beforeTake: Effect.succeed(Number.POSITIVE_INFINITY) };

/** Takes as many jobs as there are free slots, and passes them to `startJobs`. Never returns. */
export const takeLoop = Effect.fnUntraced(function* <R>(
  queue: JobQueue["Service"],
  activeJobs: ActiveJobs,
  { beforeTake }: Admission,
  startJobs: (taken: Taken) => Effect.Effect<void, never, R>,
) {
  const warn = yield* makeThrottledWarning;

  const takeOnce = Effect.gen(function* () {
    yield* activeJobs.freeSlots;
    const admitted = yield* beforeTake;
    const slots = Math.min(admitted, yield* activeJobs.freeSlots);
    const elapsed = yield* stopwatch;
    // RunPod sends each job only once, so an interruption between take and start would lose it.
    const { jobs, invalid } = yield* Effect.uninterruptible(
      Effect.tap(queue.take(slots, activeJobs.count() > 0), startJobs),
    );
    if (jobs.length + invalid.length > 0) return;
    const rest = Duration.subtract(EMPTY_INTERVAL, yield* elapsed);
    if (Duration.isPositive(rest)) yield* Effect.sleep(yield* jittered(rest));
  });

  return yield* takeOnce.pipe(
    Effect.tapError(({ message }) => warn(message)),
    Effect.retry(RETRY_PAUSES),
    // The schedule never ends, so no error remains; its type does not show that.
    Effect.orDie,
    Effect.forever,
  );
});
