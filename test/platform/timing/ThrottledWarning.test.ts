import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";
import { TestClock } from "effect/testing";

import { makeThrottledWarning } from "../../../src/platform/timing/ThrottledWarning.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";

describe("a throttled warning", () => {
  it.effect("is logged once a minute, but at once if its message differs", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      const warn = yield* makeThrottledWarning;
      yield* warn("a");
      yield* TestClock.adjust("59 seconds");
      yield* warn("a");
      yield* warn("b");
      yield* warn("a");
      assert.deepStrictEqual(logs.warnings(), ["a", "b", "a"]);
      yield* TestClock.adjust("1 minute");
      yield* warn("a");
      assert.deepStrictEqual(logs.warnings(), ["a", "b", "a", "a"]);
    }).pipe(Effect.provide(logs.layer));
  });

  it.effect("is logged once a minute per kind, even if its message differs", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      const warn = yield* makeThrottledWarning;
      yield* warn("a", "kind");
      yield* warn("b", "kind");
      yield* TestClock.adjust("1 minute");
      yield* warn("c", "kind");
      assert.deepStrictEqual(logs.warnings(), ["a", "c"]);
    }).pipe(Effect.provide(logs.layer));
  });
});
