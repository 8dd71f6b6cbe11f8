import { assert, describe, it } from "@effect/vitest";
import { Clock, Duration, Effect, Schedule } from "effect";
import { TestClock } from "effect/testing";

import { stopwatch, wallMillis } from "../../src/settings/SteadyClock.ts";
import { steppedClock } from "../support/fakes/SteppedClock.ts";

const HOUR = 3_600_000;
/** Not multiples of any interval below. */
const STEPS = [-HOUR - 3700, HOUR + 3700] as const;

/** Steps the wall clock halfway through ten minutes of an effect that runs with the program's clock. */
const underSteps = Effect.fnUntraced(function* <A>(step: number, effect: Effect.Effect<A>) {
  const clock = steppedClock();
  // Not for the steps themselves, which use TestClock.
  const fiber = yield* Effect.forkChild(Effect.provide(effect, clock.layer));
  for (let seconds = 0; seconds < 600; seconds += 1) {
    if (seconds === 300) clock.step(step);
    yield* TestClock.adjust("1 second");
  }
  return fiber;
});

describe("SteadyClock", () => {
  it.effect.each(STEPS)(
    "keeps the interval of a fixed schedule after the wall clock steps by %i ms",
    (step) =>
      Effect.gen(function* () {
        let runs = 0;
        const run = Effect.sync(() => (runs += 1));
        yield* underSteps(step, Effect.asVoid(Effect.repeat(run, Schedule.fixed("10 seconds"))));
        assert.strictEqual(runs, 61);
      }),
  );

  it.effect.each(STEPS)(
    "retries exactly until the time limit after the wall clock steps by %i ms",
    (step) =>
      Effect.gen(function* () {
        let tries = 0;
        const failing = Effect.suspend(() => {
          tries += 1;
          return Effect.fail("no");
        });
        const schedule = Schedule.spaced("10 seconds").pipe(
          Schedule.upTo({ duration: "8 minutes" }),
        );
        yield* underSteps(step, Effect.ignore(Effect.retry(failing, schedule)));
        assert.approximately(tries, 49, 1);
      }),
  );

  it.effect.each(STEPS)(
    "measures the elapsed time, without a step of %i ms of the wall clock",
    (step) =>
      Effect.gen(function* () {
        const durations: Array<number> = [];
        yield* underSteps(
          step,
          Effect.gen(function* () {
            const elapsed = yield* stopwatch;
            const started = yield* Clock.currentTimeMillis;
            yield* Effect.sleep("8 minutes");
            durations.push(
              Duration.toMillis(yield* elapsed),
              (yield* Clock.currentTimeMillis) - started,
            );
          }),
        );
        assert.deepStrictEqual(durations, [480_000, 480_000]);
      }),
  );

  it.effect("returns the wall clock's time after a step", () =>
    Effect.gen(function* () {
      const clock = steppedClock();
      yield* Effect.gen(function* () {
        const before = yield* wallMillis;
        clock.step(-HOUR);
        assert.strictEqual(yield* wallMillis, before - HOUR);
      }).pipe(Effect.provide(clock.layer));
    }),
  );
});
