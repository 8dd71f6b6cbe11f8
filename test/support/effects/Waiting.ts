import { Effect, Fiber, Schedule } from "effect";
import { TestClock } from "effect/testing";

/** Polls the state of other processes or connections until it is as expected. Fails after a minute. */
export const poll = <A, E, R>(effect: Effect.Effect<A, E, R>, isExpected: (value: A) => boolean) =>
  effect.pipe(
    Effect.repeat({ schedule: Schedule.spaced("10 millis"), until: isExpected }),
    Effect.timeout("60 seconds"),
  );

/** Polls a condition that depends on other processes or connections. */
export const eventually = (isSo: () => boolean) => poll(Effect.sync(isSo), (so) => so);

/** Lets other fibers run until a condition is true, without a clock. Fails if none of them makes it true. */
export const yieldUntil = Effect.fnUntraced(function* (isSo: () => boolean) {
  for (let turns = 0; turns < 10_000; turns += 1) {
    if (isSo()) return;
    yield* Effect.yieldNow;
  }
  return yield* Effect.die(new Error("The condition did not become true."));
});

export const isDone = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  fiber.pollUnsafe() !== undefined;

/** Runs an effect and adjusts TestClock in steps of 100 ms until it is done. */
export const advanceUntilDone = Effect.fnUntraced(function* <A, E, R>(
  effect: Effect.Effect<A, E, R>,
) {
  const fiber = yield* Effect.forkChild(effect);
  while (!isDone(fiber)) {
    yield* TestClock.adjust({ milliseconds: 100 });
    for (let turns = 0; turns < 100; turns += 1) yield* Effect.yieldNow;
  }
  return yield* Fiber.join(fiber);
});
