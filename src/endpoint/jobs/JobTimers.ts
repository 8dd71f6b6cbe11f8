import { Clock, Duration, Effect, FiberMap, Queue } from "effect";

import { type JobEntry, RETENTION } from "./JobEntry.ts";

/** Shorter timers are extended to this duration. */
const MIN_TIMER = Duration.seconds(1);

/** What expires for a job: the retention of its result, its total time (`ttl`) or its time to run. */
export type Expiry = "retention" | "ttl" | "executionTimeout";

/** What expires next for a job in its current state, and when, in Unix milliseconds. */
export const nextExpiry = ({
  submitted,
  started,
  ended,
  ttl,
  executionTimeout,
}: JobEntry): { readonly expiry: Expiry; readonly at: number } => {
  if (ended !== undefined) {
    return { expiry: "retention", at: ended + Duration.toMillis(RETENTION) };
  }
  const ttlEnd = submitted + Duration.toMillis(ttl);
  const runEnd = started === undefined ? Infinity : started + Duration.toMillis(executionTimeout);
  return runEnd < ttlEnd
    ? { expiry: "executionTimeout", at: runEnd }
    : { expiry: "ttl", at: ttlEnd };
};

/** The timers of the jobs of a queue, each in a fiber. */
export const makeJobTimers = Effect.gen(function* () {
  const clock = yield* Clock.Clock;
  const reached = yield* Queue.unbounded<JobEntry>();
  const fibers = yield* FiberMap.make<string>();
  // Not a child of the current fiber: the fiber of a request would keep its body in memory until the timer ends.
  const run = yield* FiberMap.runtime(fibers)();
  return {
    /** Starts the timer for a job's current state; replaces an earlier one. */
    start: (entry: JobEntry): void => {
      const rest = Duration.millis(nextExpiry(entry).at - clock.currentTimeMillisUnsafe());
      run(entry.id, Effect.delay(Queue.offer(reached, entry), Duration.max(rest, MIN_TIMER)));
    },
    stop: ({ id }: JobEntry) => FiberMap.remove(fibers, id),
    /** Waits for the next job whose timer ended. The state of the job may have changed meanwhile. */
    next: Queue.take(reached),
  };
});
