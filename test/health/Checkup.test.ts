import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, Layer, Option } from "effect";
import { TestClock } from "effect/testing";

import { checkup } from "../../src/health/Checkup.ts";
import { BlockingLock } from "../../src/platform/BlockingLock.ts";
import { LockUnavailable } from "../../src/platform/FileLock.ts";
import { Programs } from "../../src/platform/Programs.ts";
import { DiskUsage } from "../../src/platform/files/DiskUsage.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { Interpreters } from "../../src/venv/Interpreters.ts";
import { Uv } from "../../src/venv/Uv.ts";
import { Volume } from "../../src/workspace/Volume.ts";

/** A machine on which every program hangs. */
const machine = (directory: string, variables: Readonly<Record<string, string>>) =>
  Layer.mergeAll(
    Layer.mock(Interpreters, {
      base: Effect.succeed({ executable: "/usr/bin/python3", identity: "" }),
      facts: () => Effect.never,
    }),
    Layer.mock(Uv, { command: Effect.succeed("uv") }),
    Layer.mock(Programs, { run: () => Effect.never }),
    Layer.mock(Volume, {
      shared: Effect.succeedNone,
      own: { directory, shared: false, caches: directory, cachedModels: Option.none() },
    }),
    Layer.mock(BlockingLock, {
      acquireUnless: () => Effect.fail(new LockUnavailable({ path: directory, reason: "none" })),
    }),
    Layer.mock(DiskUsage, { space: () => Effect.succeedNone }),
    Environment.layerOf(variables),
  );

describe("checkup", () => {
  it.effect.each([
    ["false", "warning"],
    ["true", "missing"],
  ] as const)(
    "reports programs that hang, with WORKER_REQUIRE_GPU=%s",
    ([requiresGpu, stateOfGpu]) =>
      Effect.gen(function* () {
        const files = yield* FileSystem.FileSystem;
        const directory = yield* files.makeTempDirectoryScoped();
        yield* files.symlink(".venvs/1", `${directory}/.venv`);
        const { findings } = yield* checkup.pipe(
          Effect.provide(machine(directory, { WORKER_REQUIRE_GPU: requiresGpu })),
          Effect.raceFirst(Effect.forever(TestClock.adjust("10 seconds"))),
        );
        assert.deepStrictEqual(
          findings.flatMap(({ subject, state, detail }) =>
            detail.includes("more than 10s") ? [[subject, state]] : [],
          ),
          [
            ["Python", "missing"],
            ["uv", "missing"],
            ["Environment", "warning"],
            ["GPU", stateOfGpu],
          ],
        );
      }).pipe(Effect.provide(NodeServices.layer)),
  );
});
