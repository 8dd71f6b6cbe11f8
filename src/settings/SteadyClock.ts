import { Clock, Duration, Effect, Layer } from "effect";

/**
 * A clock whose milliseconds start at the wall clock's time and then advance with the monotonic clock, so that setting
 * the wall clock does not affect schedules, timeouts, caches and durations. Effect's schedules (`fixed`, `windowed`,
 * `upTo`), caches and `RcMap` use these milliseconds; Effect's own clock takes them from the wall clock. The nanoseconds
 * follow the wall clock, for timestamps (see `wallMillis`) and spans.
 */
const steady = (clock: Clock.Clock): Clock.Clock => {
  const start = clock.currentTimeMillisUnsafe();
  const origin = clock.monotonicTimeNanosUnsafe();
  const millis = () => start + Number((clock.monotonicTimeNanosUnsafe() - origin) / 1_000_000n);
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
    currentTimeNanos: clock.currentTimeNanos,
    monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: clock.monotonicTimeNanos,
    sleep: (duration) => clock.sleep(duration),
  };
};

/** The clock of the whole program. */
export const SteadyClock = Layer.effect(Clock.Clock, Effect.map(Clock.Clock, steady));

/** The wall clock's time in Unix milliseconds, to show or to compare with the times of files. */
export const wallMillis = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos / 1_000_000n));

/** Starts a stopwatch; the inner effect returns the elapsed time. */
export const stopwatch: Effect.Effect<Effect.Effect<Duration.Duration>> = Effect.map(
  Clock.monotonicTimeNanos,
  (started) => Effect.map(Clock.monotonicTimeNanos, (now) => Duration.nanos(now - started)),
);
