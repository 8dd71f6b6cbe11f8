import { assert, describe, it } from "@effect/vitest";
import { Clock, Duration, Effect, Fiber, Ref } from "effect";
import { TestClock } from "effect/testing";

import { backoff, jittered, requestBackoff } from "../../../src/platform/timing/Backoff.ts";

/** The pauses after tries that fail with these errors, in milliseconds. */
const pausesOf = Effect.fnUntraced(function* <E>(
  errors: ReadonlyArray<E>,
  retry: (effect: Effect.Effect<void, E>) => Effect.Effect<void, E>,
) {
  const times: Array<number> = [];
  const rest = yield* Ref.make(errors);
  const fiber = yield* Effect.forkChild(
    retry(
      Effect.gen(function* () {
        times.push(yield* Clock.currentTimeMillis);
        const [error, ...others] = yield* Ref.get(rest);
        yield* Ref.set(rest, others);
        if (error !== undefined) return yield* Effect.fail(error);
      }),
    ),
  );
  yield* TestClock.adjust("1 hour");
  yield* Fiber.join(fiber);
  return times.slice(1).map((time, index) => time - (times[index] ?? 0));
});

const assertPauses = (pauses: ReadonlyArray<number>, planned: ReadonlyArray<number>) => {
  assert.strictEqual(pauses.length, planned.length);
  for (const [index, pause] of planned.entries()) {
    const share = (pauses[index] ?? 0) / pause;
    assert.isTrue(share >= 1 && share <= 1.21, `${pauses}`);
  }
};

describe("pauses between retries", () => {
  it.effect("double up to the longest one, and start again for the next call", () =>
    Effect.gen(function* () {
      const pauses = backoff(Duration.millis(500), Duration.seconds(3));
      for (let round = 0; round < 2; round += 1) {
        assertPauses(
          yield* pausesOf(Array<string>(5).fill("no"), Effect.retry(pauses)),
          [500, 1000, 2000, 3000, 3000],
        );
      }
    }),
  );

  it.effect("are 5 seconds after status 429, and double after other errors", () =>
    Effect.gen(function* () {
      const pauses = requestBackoff(Duration.millis(500), Duration.minutes(1));
      assertPauses(
        yield* pausesOf(
          [{ status: 500 }, { status: 429 }, { status: 429 }, {}, { status: 503 }],
          Effect.retry(pauses),
        ),
        [500, 5000, 5000, 4000, 8000],
      );
    }),
  );

  it.effect("are up to 20 % longer at random", () =>
    Effect.gen(function* () {
      const pauses = yield* Effect.replicateEffect(jittered(Duration.seconds(1)), 100);
      const millis = pauses.map(Duration.toMillis);
      assert.isAtLeast(Math.min(...millis), 1000);
      assert.isAtMost(Math.max(...millis), 1200);
      assert.isAbove(Math.max(...millis) - Math.min(...millis), 100);
    }),
  );
});
