import { Duration, Effect } from "effect";

import { jittered, requestBackoff } from "../platform/timing/Backoff.ts";
import { makeThrottledWarning } from "../platform/timing/ThrottledWarning.ts";
import { stopwatch } from "../settings/SteadyClock.ts";
import type { ActiveJobs } from "./ActiveJobs.ts";
import type { JobQueue } from "./JobQueue.ts";
import type { Taken } from "./runpod/TakenJobs.ts";

/** The shortest time from one take to the next after an empty response: RunPod may not hold polls open. */
const EMPTY_INTERVAL = Duration.millis(520);

const RETRY_PAUSES = requestBackoff(Duration.millis(500), Duration.seconds(30));

/** Decides whether a worker may take jobs. */
export interface Admission {
  /** Waits until jobs may be taken, and returns how many at most. */
  readonly beforeTake: Effect.Effect<number>;
}

export const ADMIT_ALL: Admission = { beforeTake: Effect.succeed(Number.POSITIVE_INFINITY) };

/** Takes jobs for ever, as many as there are free slots, and passes them to `begin`. */
export const takeLoop = Effect.fnUntraced(function* <R>(
  queue: JobQueue["Service"],
  activeJobs: ActiveJobs,
  { beforeTake }: Admission,
  begin: (taken: Taken) => Effect.Effect<void, never, R>,
) {
  const warn = yield* makeThrottledWarning;

  const takeOnce = Effect.gen(function* () {
    yield* activeJobs.freeSlots;
    const admitted = yield* beforeTake;
    const slots = Math.min(admitted, yield* activeJobs.freeSlots);
    const elapsed = yield* stopwatch;
    // RunPod gives a job away once, so an interruption between the two would lose it.
    const { jobs, invalid } = yield* Effect.uninterruptible(
      Effect.tap(queue.take(slots, activeJobs.count() > 0), begin),
    );
    if (jobs.length + invalid.length > 0) return;
    const rest = Duration.subtract(EMPTY_INTERVAL, yield* elapsed);
    if (Duration.isPositive(rest)) yield* Effect.sleep(yield* jittered(rest));
  });

  return yield* takeOnce.pipe(
    Effect.tapError(({ message }) => warn(message)),
    Effect.retry(RETRY_PAUSES),
    // The schedule never ends, which its type does not say.
    Effect.orDie,
    Effect.forever,
  );
});
