import { assert, describe, it } from "@effect/vitest";
import { Effect, Fiber, FileSystem } from "effect";
import { TestClock } from "effect/testing";

import { probeWrite } from "../../../src/platform/files/Writability.ts";

describe("a write probe", () => {
  it.effect("ends soon after an interruption if the disk hangs, even if it can't be removed", () =>
    Effect.gen(function* () {
      const files = FileSystem.makeNoop({
        writeFileString: () => Effect.never,
        remove: () => Effect.never,
      });
      const probing = yield* Effect.forkChild(probeWrite(files, "/runpod-volume"));
      yield* Effect.yieldNow;
      const stopping = yield* Effect.forkChild(Fiber.interrupt(probing));
      yield* TestClock.adjust("2 seconds");
      yield* Effect.yieldNow;
      assert.isDefined(stopping.pollUnsafe());
    }),
  );
});
