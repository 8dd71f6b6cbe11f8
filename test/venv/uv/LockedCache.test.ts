import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer } from "effect";
import { TestClock } from "effect/testing";

import { ProgramFailed } from "../../../src/platform/programs/Programs.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { lockedCache } from "../../../src/venv/uv/LockedCache.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";

const LOCKED =
  "error: Could not acquire lock\n  cause: Timeout (15s) when waiting for lock on `/volume/.uv-cache` at `/volume/.uv-cache/.lock`, is another uv process running?";

const CACHE = { UV_CACHE_DIR: "/volume/.uv-cache" };

type Variables = Readonly<Record<string, string>>;

const setUp = (variables: Variables = {}) => {
  const logs = keptLogs();
  const runs: Array<Variables> = [];
  /** A run of uv whose first attempts fail with these outputs. */
  const failing = (...outputs: ReadonlyArray<string>) => {
    const left = [...outputs];
    return (environment: Variables) =>
      Effect.suspend(() => {
        runs.push(environment);
        const output = left.shift();
        return output === undefined
          ? Effect.succeed("done")
          : Effect.fail(new ProgramFailed({ command: "uv", args: [], output }));
      });
  };
  const provide = Effect.provide(Layer.merge(logs.layer, Environment.layerOf(variables)));
  return { logs, runs, failing, provide };
};

describe("uv's cache", () => {
  it.effect("is not used for 10 minutes after a dead host has kept its lock", () => {
    const { logs, runs, failing, provide } = setUp();
    return Effect.gen(function* () {
      const run = yield* lockedCache;
      assert.strictEqual(yield* run(CACHE, failing(LOCKED)), "done");
      assert.strictEqual(runs[0]?.["UV_LOCK_TIMEOUT"], "15");
      assert.notProperty(runs[0], "UV_NO_CACHE");
      assert.strictEqual(runs[1]?.["UV_NO_CACHE"], "1");
      assert.lengthOf(logs.warnings(), 1);
      assert.include(logs.warnings()[0], "/volume/.uv-cache stays locked");
      yield* TestClock.adjust("9 minutes");
      yield* run(CACHE, failing());
      assert.strictEqual(runs[2]?.["UV_NO_CACHE"], "1");
      yield* TestClock.adjust("1 minute");
      yield* run(CACHE, failing());
      assert.notProperty(runs[3], "UV_NO_CACHE");
    }).pipe(provide);
  });

  it.effect.each([
    ["there is no shared cache", {}, {}],
    ["it is not used", {}, { ...CACHE, UV_NO_CACHE: "1" }],
    ["the user has set it", { UV_LOCK_TIMEOUT: "60" }, CACHE],
  ] as const)("is locked without a timeout of the worker if %s", ([, variables, given]) => {
    const { runs, failing, provide } = setUp(variables);
    return Effect.gen(function* () {
      yield* (yield* lockedCache)(given, failing());
      assert.notProperty(runs[0], "UV_LOCK_TIMEOUT");
    }).pipe(provide);
  });

  it.effect("does not hide other errors", () => {
    const { runs, failing, provide } = setUp();
    return Effect.gen(function* () {
      const error = yield* Effect.flip((yield* lockedCache)(CACHE, failing("no such package")));
      assert.include(error.message, "no such package");
      assert.lengthOf(runs, 1);
    }).pipe(provide);
  });
});
