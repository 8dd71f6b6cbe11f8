import { Duration, Effect, FiberSet } from "effect";

import { jittered, requestBackoff } from "../platform/timing/Backoff.ts";
import { makeThrottledWarning } from "../platform/timing/ThrottledWarning.ts";
import type { ActiveJobs } from "./ActiveJobs.ts";
import type { JobQueue } from "./JobQueue.ts";

/** The pause after an empty response. */
const EMPTY_PAUSE = Duration.seconds(1);

const RETRY_PAUSES = requestBackoff(Duration.seconds(1), Duration.seconds(30));

/** Polls RunPod for jobs to stop, and stops them. Never returns. */
export const stopLoop = Effect.fnUntraced(function* (
  queue: JobQueue["Service"],
  activeJobs: ActiveJobs,
  fibers: FiberSet.FiberSet<void>,
) {
  const warn = yield* makeThrottledWarning;

  const stopOnce = Effect.gen(function* () {
    const ids = yield* queue.stops;
    for (const id of ids) {
      const job = activeJobs.find(id);
      // Stopping may take long; the next id must not wait for it.
      if (job !== undefined) yield* FiberSet.run(fibers, job.stop("stopped by RunPod"));
    }
    if (ids.length === 0) yield* Effect.sleep(yield* jittered(EMPTY_PAUSE));
  });

  return yield* stopOnce.pipe(
    Effect.tapError(({ reason }) =>
      warn(`Could not poll RunPod for jobs to stop: ${reason}. Retrying.`),
    ),
    Effect.retry(RETRY_PAUSES),
    // The schedule never ends, so no error remains; its type does not show that.
    Effect.orDie,
    Effect.forever,
  );
});
