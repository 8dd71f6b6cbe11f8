import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, Layer, Option, PlatformError } from "effect";

import { Fitness } from "../../src/health/Fitness.ts";
import { DiskUsage } from "../../src/platform/files/DiskUsage.ts";
import { Programs } from "../../src/platform/programs/Programs.ts";
import { JobQueue } from "../../src/queue/JobQueue.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { Interpreters } from "../../src/venv/Interpreters.ts";
import type { Place } from "../../src/venv/Place.ts";
import { Volume } from "../../src/workspace/Volume.ts";
import { advanceUntilDone } from "../support/effects/Waiting.ts";
import { keptLogs } from "../support/fakes/CapturedLogs.ts";
import { fakeJobQueue } from "../support/fakes/FakeJobQueue.ts";
import { fakePrograms } from "../support/fakes/FakePrograms.ts";
import { plantingFileSystem } from "../support/files/PlantingFileSystem.ts";

const place = (directory: string): Place => ({
  directory,
  shared: true,
  caches: directory,
  cachedModels: Option.none(),
});

/** A file system on which some folders are read-only. */
const readOnly = (unwritable: ReadonlyArray<string>) => {
  const write = (path: string) =>
    unwritable.some((folder) => path.startsWith(folder))
      ? Effect.fail(
          PlatformError.systemError({
            _tag: "PermissionDenied",
            module: "FileSystem",
            method: "writeFileString",
            pathOrDescriptor: path,
            cause: Object.assign(new Error("EROFS: read-only file system"), { code: "EROFS" }),
          }),
        )
      : Effect.void;
  return FileSystem.layerNoop({
    makeDirectory: write,
    writeFileString: write,
    makeTempDirectoryScoped: () => Effect.as(write("/tmp"), "/tmp/one"),
    remove: () => Effect.void,
  });
};

/** The fitness of a machine with this disk. */
const fitness = (
  disk: Layer.Layer<FileSystem.FileSystem>,
  shared: Option.Option<Place>,
  {
    pings = [],
    programs = fakePrograms(() => ""),
    variables = {},
  }: {
    readonly pings?: Array<Readonly<Record<string, string>>>;
    readonly programs?: ReturnType<typeof fakePrograms>;
    readonly variables?: Readonly<Record<string, string>>;
  } = {},
) =>
  Fitness.layerNoDeps.pipe(
    Layer.provide([
      disk,
      programs.layer,
      Layer.mock(Interpreters, {
        base: Effect.succeed({ executable: "/usr/bin/python3", identity: "python" }),
      }),
      Layer.succeed(Volume, Volume.of({ shared: Effect.succeed(shared), own: place("/own") })),
      Layer.succeed(
        JobQueue,
        fakeJobQueue({ ping: (parameters) => Effect.sync(() => void pings.push(parameters)) }),
      ),
      Layer.mock(DiskUsage, { space: () => Effect.succeedNone }),
      Environment.layerOf(variables),
    ]),
    Layer.provide([NodeServices.layer, keptLogs().layer]),
  );

const check = Effect.flatMap(Fitness, (service) => service.check);

describe("Fitness", () => {
  it.effect("accepts a read-only container's disk if the network volume is writable", () =>
    Effect.provide(
      check,
      fitness(readOnly(["/own"]), Option.some(place("/runpod-volume/runtimes/x"))),
    ),
  );

  it.effect("fails if no disk is writable, and reports the failed check to RunPod", () =>
    Effect.gen(function* () {
      const pings: Array<Readonly<Record<string, string>>> = [];
      const unfit = yield* Effect.flip(
        Effect.provide(check, fitness(readOnly(["/own"]), Option.none(), { pings })),
      );
      assert.match(unfit.message, /\/own .*read-only/);
      assert.deepInclude(pings[0], { status: "unhealthy", check: "disk" });
    }),
  );

  it.effect("fails without a writable temporary folder", () =>
    Effect.gen(function* () {
      const unfit = yield* Effect.flip(
        Effect.provide(check, fitness(readOnly(["/"]), Option.none())),
      );
      assert.strictEqual(unfit._tag, "Unfit");
      const folder = yield* Effect.flip(
        Effect.provide(check, fitness(readOnly(["/tmp"]), Option.none())),
      );
      assert.include(folder.message, "it is mounted read-only (EROFS)");
      assert.include(folder.message, "TMPDIR");
    }),
  );

  it.effect("probes a disk only with new files and never changes existing ones", () =>
    Effect.gen(function* () {
      const { layer, precious } = plantingFileSystem();
      const unfit = yield* Effect.flip(Effect.provide(check, fitness(layer, Option.none())));
      assert.include(unfit.message, "EEXIST");
      assert.strictEqual(precious(), "precious");
    }),
  );

  it.effect("checks CUDA in an isolated Python that imports no modules of jobs", () =>
    Effect.gen(function* () {
      const programs = fakePrograms(() => "");
      yield* Effect.flatMap(Fitness, ({ checkCuda }) => checkCuda("/venv/bin/python")).pipe(
        Effect.provide(fitness(readOnly([]), Option.none(), { programs })),
      );
      assert.lengthOf(programs.lines, 1);
      assert.isTrue(programs.lines[0]?.startsWith("/venv/bin/python -I -c "));
    }),
  );

  it.effect("fails without a GPU if WORKER_REQUIRE_GPU is set", () =>
    Effect.gen(function* () {
      const pings: Array<Readonly<Record<string, string>>> = [];
      const programs = fakePrograms(() => ({ exitCode: 9, output: "no driver\n" }));
      const variables = { WORKER_REQUIRE_GPU: "true" };
      const unfit = yield* Effect.flip(
        Effect.provide(check, fitness(readOnly([]), Option.none(), { programs, variables, pings })),
      );
      assert.include(
        unfit.message,
        "WORKER_REQUIRE_GPU is set, but nvidia-smi finds no GPU: no driver",
      );
      assert.deepInclude(pings[0], { check: "gpu" });
    }),
  );

  it.effect("only lists the GPUs if one is required, and does not query their properties", () =>
    Effect.gen(function* () {
      const programs = fakePrograms(() => "GPU 0: A100\n");
      const variables = { WORKER_REQUIRE_GPU: "true" };
      yield* Effect.provide(check, fitness(readOnly([]), Option.none(), { programs, variables }));
      assert.deepStrictEqual(programs.lines, ["nvidia-smi -L"]);
    }),
  );

  it.effect("does not run nvidia-smi if no GPU is required", () =>
    Effect.gen(function* () {
      const programs = fakePrograms(() => undefined);
      yield* Effect.provide(check, fitness(readOnly([]), Option.none(), { programs }));
      assert.isEmpty(programs.lines);
    }),
  );

  it.effect("fails if a check hangs, and names the check", () =>
    Effect.gen(function* () {
      const pings: Array<Readonly<Record<string, string>>> = [];
      const hanging = {
        ...fakePrograms(() => ""),
        layer: Layer.mock(Programs, { run: () => Effect.never }),
      };
      const variables = { WORKER_REQUIRE_GPU: "true" };
      const unfit = yield* check.pipe(
        Effect.provide(
          fitness(readOnly([]), Option.none(), { programs: hanging, variables, pings }),
        ),
        Effect.flip,
        advanceUntilDone,
      );
      assert.include(unfit.message, "the gpu check took more than 10 seconds");
      assert.deepInclude(pings[0], { check: "gpu" });
    }),
  );

  it.effect("fails on an invalid limit before it runs a check", () =>
    Effect.gen(function* () {
      const programs = fakePrograms(() => undefined);
      const variables = { RUNPOD_MIN_DISK_PERCENT: "half" };
      const error = yield* Effect.flip(
        Effect.provide(Fitness, fitness(readOnly([]), Option.none(), { programs, variables })),
      );
      assert.include(error.message, "RUNPOD_MIN_DISK_PERCENT");
    }),
  );
});
