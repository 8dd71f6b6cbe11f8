import { assert, describe, it } from "@effect/vitest";
import { Effect, Fiber } from "effect";

import { Changes } from "../../../src/endpoint/jobs/Changes.ts";
import { turns } from "../../support/effects/Interruption.ts";

describe("Changes.until", () => {
  it.effect("completes at the change that meets the condition, for every waiting fiber", () =>
    Effect.gen(function* () {
      const changes = new Changes();
      let value = 0;
      const waiting = yield* Effect.forEach([1, 2, 2], (expected) =>
        Effect.forkChild(changes.until(() => value >= expected)),
      );
      const ended = () => waiting.map((fiber) => fiber.pollUnsafe() !== undefined);
      yield* turns(3);
      changes.notify();
      yield* turns(3);
      assert.deepStrictEqual(ended(), [false, false, false]);
      value = 1;
      changes.notify();
      yield* turns(3);
      assert.deepStrictEqual(ended(), [true, false, false]);
      value = 2;
      changes.notify();
      yield* Effect.forEach(waiting, Fiber.join);
    }),
  );

  it.effect("does not wait if the condition is already met", () => {
    const changes = new Changes();
    return changes.until(() => true);
  });
});
