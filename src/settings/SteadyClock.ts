import { Clock, Duration, Effect, Layer } from "effect";

/**
 * A clock whose milliseconds start at the wall clock's time and then advance with the monotonic clock, so that a step
 * of the wall clock changes no pace, time-out, cache or duration. Effect's schedules (`fixed`, `windowed`, `upTo`),
 * caches and `RcMap` measure with these milliseconds, which are the wall clock's otherwise. Its nanoseconds follow the
 * wall clock, for timestamps (see `wallMillis`); Effect takes the times of spans from them.
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

/** The time of day in Unix milliseconds: for what people read, and for comparing with the times of files. */
export const wallMillis = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos / 1_000_000n));

/** Starts measuring; the inner effect is the time since then. */
export const stopwatch: Effect.Effect<Effect.Effect<Duration.Duration>> = Effect.map(
  Clock.monotonicTimeNanos,
  (started) => Effect.map(Clock.monotonicTimeNanos, (now) => Duration.nanos(now - started)),
);
