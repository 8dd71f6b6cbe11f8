import { Clock, Effect, Layer } from "effect";

import { SteadyClock } from "../../../src/settings/SteadyClock.ts";

/** A machine whose wall clock can be changed independently of its monotonic clock, which is that of TestClock. */
export const steppedClock = () => {
  let offset = 0;
  const machine = Layer.effect(
    Clock.Clock,
    Effect.map(Clock.Clock, (inner): Clock.Clock => {
      const millis = () => inner.currentTimeMillisUnsafe() + offset;
      const nanos = () => inner.currentTimeNanosUnsafe() + BigInt(offset) * 1_000_000n;
      return {
        currentTimeMillisUnsafe: millis,
        currentTimeMillis: Effect.sync(millis),
        currentTimeNanosUnsafe: nanos,
        currentTimeNanos: Effect.sync(nanos),
        monotonicTimeNanosUnsafe: () => inner.monotonicTimeNanosUnsafe(),
        monotonicTimeNanos: inner.monotonicTimeNanos,
        sleep: (duration) => inner.sleep(duration),
      };
    }),
  );
  return {
    /** Sets the wall clock forward or back. */
    step: (milliseconds: number) => {
      offset += milliseconds;
    },
    /** The clock that the program uses. */
    layer: SteadyClock.pipe(Layer.provide(machine)),
  };
};
