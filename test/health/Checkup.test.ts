import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Option, Path } from "effect";

import { checkup } from "../../src/health/Checkup.ts";
import { DiskUsage, type Space } from "../../src/platform/files/DiskUsage.ts";
import { FileLock, LockUnavailable } from "../../src/platform/locks/FileLock.ts";
import { Programs } from "../../src/platform/programs/Programs.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { Interpreters } from "../../src/venv/Interpreters.ts";
import { Uv } from "../../src/venv/Uv.ts";
import { Volume } from "../../src/workspace/Volume.ts";
import { advanceUntilDone } from "../support/effects/Waiting.ts";
import { fakePrograms } from "../support/fakes/FakePrograms.ts";
import { type Fault, faultyFileSystem } from "../support/files/FaultyFileSystem.ts";
import { memoryFileSystem } from "../support/files/MemoryFileSystem.ts";

const HOME = "/own";

interface MachineOptions {
  readonly variables?: Readonly<Record<string, string>>;
  readonly programs?: Layer.Layer<Programs>;
  /** The space of every disk. */
  readonly space?: Space;
  readonly faults?: ReadonlyArray<Fault>;
}

/** A machine without a volume, whose interpreter hangs. */
const machine = ({
  variables = {},
  programs = Layer.mock(Programs, { run: () => Effect.never }),
  space,
  faults = [],
}: MachineOptions) =>
  Layer.mergeAll(
    Layer.mock(Interpreters, {
      base: Effect.succeed({ executable: "/usr/bin/python3", identity: "" }),
      facts: () => Effect.never,
    }),
    Layer.mock(Uv, { command: Effect.succeed("uv") }),
    programs,
    Layer.mock(Volume, {
      shared: Effect.succeedNone,
      own: { directory: HOME, shared: false, caches: HOME, cachedModels: Option.none() },
    }),
    Layer.mock(FileLock, {
      read: () => Effect.succeedNone,
      tryLock: () => Effect.fail(new LockUnavailable({ path: HOME, reason: "none" })),
    }),
    Layer.mock(DiskUsage, { space: () => Effect.succeed(Option.fromUndefinedOr(space)) }),
    Environment.layerOf(variables),
    faultyFileSystem(
      memoryFileSystem({ "/tmp": null, [`${HOME}/.venv`]: { link: ".venvs/1" } }).files,
      faults,
    ).layer,
    Path.layer,
  );

const findings = (options: MachineOptions) =>
  Effect.map(
    advanceUntilDone(Effect.provide(checkup, machine(options))),
    ({ findings: found }) => new Map(found.map((finding) => [finding.subject, finding])),
  );

describe("checkup", () => {
  it.effect.each([
    ["false", "warning"],
    ["true", "missing"],
  ] as const)(
    "reports programs that hang with WORKER_REQUIRE_GPU=%s",
    ([requiresGpu, stateOfGpu]) =>
      Effect.gen(function* () {
        const found = yield* findings({ variables: { WORKER_REQUIRE_GPU: requiresGpu } });
        assert.deepStrictEqual(
          [...found.values()].flatMap(({ subject, state, detail }) =>
            detail.includes("more than 10s") ? [[subject, state]] : [],
          ),
          [
            ["Python", "missing"],
            ["uv", "missing"],
            ["Venv", "warning"],
            ["GPU", stateOfGpu],
          ],
        );
      }),
  );

  it.effect("omits checks for start that succeed", () =>
    Effect.gen(function* () {
      const found = yield* findings({ space: { free: 60e9, total: 100e9 } });
      assert.deepStrictEqual(
        [...found.keys()].filter((subject) => subject !== "Memory"),
        ["Node", "Python", "uv", "Volume", "Lock", "Venv", "Disk", "GPU"],
      );
      assert.strictEqual(found.get("Disk")?.detail, "60.0 GB free of 100.0 GB");
    }),
  );

  it.effect("reports failed checks for which start refuses to run", () =>
    Effect.gen(function* () {
      const found = yield* findings({
        variables: { RUNPOD_MIN_MEMORY_GB: "1000000", RUNPOD_MIN_DISK_PERCENT: "50" },
        space: { free: 10e9, total: 100e9 },
        faults: [{ method: "makeDirectory", code: "EROFS", path: /^\/own/ }],
      });
      assert.strictEqual(
        found.get("Local folder")?.detail,
        "/own can't be created: it is mounted read-only (EROFS). Mount it writable.",
      );
      assert.match(found.get("Memory")?.detail ?? "", /but 1000000\.0 GB of memory required/);
      assert.deepInclude(found.get("Root disk"), {
        state: "missing",
        detail:
          "10 percent of the container's disk free, but 50 percent of the container's disk required. Use a larger machine or lower the limit.",
      });
    }),
  );

  it.effect("warns about low disk space", () =>
    Effect.gen(function* () {
      const found = yield* findings({ space: { free: 4e9, total: 100e9 } });
      assert.deepInclude(found.get("Disk"), { state: "warning" });
      assert.include(found.get("Disk")?.advice, "prune");
      assert.deepInclude(found.get("Root disk"), {
        state: "warning",
        detail: "Only 4 percent of the container's disk free: jobs may fail",
      });
    }),
  );

  it.effect("reports an invalid setting as a finding and runs the other checks", () =>
    Effect.gen(function* () {
      const found = yield* findings({ variables: { WORKER_REQUIRE_GPU: "maybe" } });
      assert.isFalse(found.has("GPU"));
      assert.include(found.get("WORKER_REQUIRE_GPU")?.detail, 'is "maybe": expected true or false');
      assert.isTrue(found.has("Node"));
    }),
  );

  it.effect("shows name, memory and driver of each GPU", () =>
    Effect.gen(function* () {
      const { layer } = fakePrograms((line) =>
        line.startsWith("nvidia-smi ") ? "A100, 550.1, 80 GB\nT4, 550.1, 16 GB\n" : undefined,
      );
      const found = yield* findings({ programs: layer });
      assert.strictEqual(
        found.get("GPU")?.detail,
        "A100, 80 GB, driver 550.1; T4, 16 GB, driver 550.1",
      );
    }),
  );

  it.effect("returns only the fields that doctor displays", () =>
    Effect.gen(function* () {
      const found = yield* findings({
        variables: { WORKER_REQUIRE_GPU: "true" },
        programs: fakePrograms(() => undefined).layer,
      });
      assert.hasAllKeys(found.get("GPU"), ["subject", "state", "detail", "advice"]);
    }),
  );
});
