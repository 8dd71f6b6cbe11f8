import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Option, Path } from "effect";
import { TestClock } from "effect/testing";

import { Environment } from "../../src/settings/Environment.ts";
import { Volume } from "../../src/workspace/Volume.ts";
import { type Fault, faultyFileSystem } from "../support/files/FaultyFileSystem.ts";
import { memoryFileSystem, type Planted } from "../support/files/MemoryFileSystem.ts";
import { plantingFileSystem } from "../support/files/PlantingFileSystem.ts";

interface Machine {
  readonly planted?: Readonly<Record<string, Planted>>;
  readonly mounts?: ReadonlyArray<string>;
  readonly variables?: Readonly<Record<string, string>>;
  readonly faults?: ReadonlyArray<Fault>;
}

const setUp = ({ planted = {}, mounts = [], variables = {}, faults = [] }: Machine) => {
  const memory = memoryFileSystem(planted, mounts);
  const layer = Volume.layer.pipe(
    Layer.provide([
      faultyFileSystem(memory.files, faults).layer,
      Path.layer,
      Environment.layerOf({ HOME: "/home/me", ...variables }),
    ]),
  );
  return { memory, provide: Effect.provide(layer) };
};

const MODELS = "/runpod-volume/huggingface-cache/hub";

const READ_ONLY: Fault = { method: "writeFile", code: "EROFS", path: /^\/runpod-volume\// };

const shared = Effect.flatMap(Volume, (volume) => volume.shared);

const places = Effect.gen(function* () {
  const volume = yield* Volume;
  return { own: volume.own, shared: Option.getOrUndefined(yield* volume.shared) };
});

const STAGED = "/runpod/model-store/huggingface";

describe("the network volume", () => {
  it.effect("is at RunPod's mount point, with a folder for each endpoint", () => {
    const { memory, provide } = setUp({
      planted: { "/runpod-volume": null },
      variables: { RUNPOD_ENDPOINT_ID: "abc-123_X" },
    });
    return Effect.gen(function* () {
      assert.deepStrictEqual((yield* places).shared, {
        directory: "/runpod-volume/runtimes/abc-123_X",
        shared: true,
        caches: "/runpod-volume",
        cachedModels: Option.none(),
      });
      assert.deepStrictEqual(memory.show(), { "/runpod-volume": null });
    }).pipe(provide);
  });

  it.effect("has only the caches of a deployed app", () => {
    const { provide } = setUp({
      planted: { "/runpod-volume": null, "/app": null },
      variables: { RUNPOD_ENDPOINT_ID: "abc", FLASH_RESOURCE_NAME: "hello" },
    });
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* places, {
        shared: undefined,
        own: {
          directory: "/app",
          shared: false,
          caches: "/runpod-volume",
          cachedModels: Option.none(),
          keepsCaches: true,
        },
      });
    }).pipe(provide);
  });

  it.effect("does not stop a deployed app if it can't be written", () => {
    const { provide } = setUp({
      planted: { "/runpod-volume": null, "/app": null },
      variables: { RUNPOD_ENDPOINT_ID: "abc", RUNPOD_RESOURCE_NAME: "hello" },
      faults: [READ_ONLY],
    });
    return Effect.gen(function* () {
      const { own, shared: onVolume } = yield* places;
      assert.strictEqual(onVolume, undefined);
      assert.strictEqual(own.caches, "/app");
    }).pipe(provide);
  });

  it.effect("is probed with a new file, never by writing to an existing one", () => {
    const { layer, precious } = plantingFileSystem({ "/runpod-volume": null });
    return Effect.gen(function* () {
      assert.include((yield* Effect.flip(shared)).message, "EEXIST");
      assert.strictEqual(precious(), "precious");
    }).pipe(
      Effect.provide(
        Volume.layer.pipe(Layer.provide([layer, Path.layer, Environment.layerOf({})])),
      ),
    );
  });

  it.effect("is at RUNPOD_VOLUME_PATH, with a default endpoint", () => {
    const { provide } = setUp({
      planted: { "/mnt/v": null, "/runpod-volume": null },
      variables: { RUNPOD_VOLUME_PATH: "/mnt/v" },
    });
    return Effect.gen(function* () {
      assert.strictEqual((yield* places).shared?.directory, "/mnt/v/runtimes/default");
    }).pipe(provide);
  });

  it.effect.each([{}, { "/runpod-volume": "a file" }])(
    "does not exist without a folder: %j",
    (planted) => {
      const { provide } = setUp({ planted });
      return Effect.gen(function* () {
        assert.isUndefined((yield* places).shared);
      }).pipe(provide);
    },
  );

  it.effect.each([
    ["EROFS", "it is mounted read-only (EROFS). Mount it writable."],
    ["EACCES", "access is denied (EACCES)"],
    ["EPERM", "access is denied (EPERM)"],
    ["EIO", "the disk failed (EIO)"],
    ["ESTALE", "the network file system has a stale file handle (ESTALE). Mount the volume again."],
  ] as const)("that can't be written to fails with the reason: %s", ([code, reason]) => {
    const { provide } = setUp({
      planted: { "/runpod-volume/runtimes": null },
      faults: [{ ...READ_ONLY, code }],
    });
    return Effect.gen(function* () {
      const error = yield* Effect.flip(shared);
      assert.strictEqual(error._tag, "VolumeNotWritable");
      assert.include(error.message, `/runpod-volume can't be written to: ${reason}`);
    }).pipe(provide);
  });

  it.effect.each(["EDQUOT", "ENOSPC"])("that is full is used for what it has: %s", (code) => {
    const { provide } = setUp({
      planted: { "/runpod-volume/runtimes": null },
      faults: [{ ...READ_ONLY, code, times: 1 }],
    });
    return Effect.gen(function* () {
      assert.isTrue((yield* places).shared?.isFull);
      assert.isUndefined((yield* places).shared?.isFull);
    }).pipe(provide);
  });

  it.effect("is checked again each time, since a fault may pass", () => {
    const { provide } = setUp({
      planted: { "/runpod-volume/runtimes": null },
      faults: [{ ...READ_ONLY, times: 1 }],
    });
    return Effect.gen(function* () {
      yield* Effect.flip(shared);
      assert.isTrue(Option.isSome(yield* shared));
    }).pipe(provide);
  });

  it.effect("has no staged models, since their folder is on this machine", () => {
    const { provide } = setUp({
      planted: { "/runpod-volume/runtimes": null, [STAGED]: null },
    });
    return Effect.gen(function* () {
      const found = yield* places;
      assert.notProperty(found.shared, "stagedModels");
      assert.strictEqual(found.own.stagedModels, STAGED);
    }).pipe(provide);
  });

  describe("with only RunPod's cached models", () => {
    it.effect("does not exist if their mount is read-only", () => {
      const { provide } = setUp({
        planted: { [MODELS]: null },
        mounts: ["/runpod-volume"],
        faults: [READ_ONLY],
      });
      return Effect.gen(function* () {
        const { own, shared } = yield* places;
        assert.isUndefined(shared);
        assert.deepStrictEqual(own.cachedModels, Option.some(MODELS));
      }).pipe(provide);
    });

    it.effect("does not exist if they are mounted below a folder of the container", () => {
      const { provide } = setUp({ planted: { [MODELS]: null }, mounts: [MODELS] });
      return Effect.gen(function* () {
        const { own, shared } = yield* places;
        assert.isUndefined(shared);
        assert.deepStrictEqual(own.cachedModels, Option.some(MODELS));
      }).pipe(provide);
    });

    it.effect("is a new volume if the volume itself is mounted", () => {
      const { provide } = setUp({
        planted: { [MODELS]: null },
        mounts: ["/runpod-volume", MODELS],
      });
      return Effect.gen(function* () {
        const { shared } = yield* places;
        assert.deepStrictEqual(shared?.cachedModels, Option.some(MODELS));
      }).pipe(provide);
    });

    it.effect("can't be used if there are other files and it is read-only", () => {
      const { provide } = setUp({
        planted: { [MODELS]: null, "/runpod-volume/runtimes": null },
        faults: [READ_ONLY],
      });
      return Effect.gen(function* () {
        assert.strictEqual((yield* Effect.flip(shared))._tag, "VolumeNotWritable");
      }).pipe(provide);
    });
  });

  it.effect.each(["../x", "a/b", ".", "a b", "a\nb", "é", "x".repeat(129)])(
    "refuses an endpoint id that could be a path: %j",
    (id) => {
      const { memory, provide } = setUp({
        planted: { "/runpod-volume": null },
        variables: { RUNPOD_ENDPOINT_ID: id },
      });
      return Effect.gen(function* () {
        const error = yield* Effect.flip(provide(Effect.asVoid(Volume)));
        assert.include(error.message, "RUNPOD_ENDPOINT_ID");
        assert.include(error.message, JSON.stringify(id));
        assert.deepStrictEqual(memory.show(), { "/runpod-volume": null });
      });
    },
  );

  it.effect("that is disconnected is not treated as missing", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(shared);
      assert.include(error.message, "the network file system is not connected (ENOTCONN)");
    }).pipe(
      setUp({
        planted: { "/runpod-volume": null },
        faults: [{ method: "stat", code: "ENOTCONN", path: /^\/runpod-volume$/ }],
      }).provide,
    ),
  );

  it.effect("loses the files with which killed workers tested it, after some time", () => {
    const { memory, provide } = setUp({
      planted: { "/runpod-volume/.write-probe-1": "", "/runpod-volume/file": "" },
    });
    return Effect.gen(function* () {
      yield* shared;
      assert.include(Object.keys(memory.show()), "/runpod-volume/.write-probe-1");
      yield* TestClock.adjust("11 minutes");
      yield* shared;
      assert.deepStrictEqual(memory.show(), { "/runpod-volume": null, "/runpod-volume/file": "" });
    }).pipe(provide);
  });

  describe("is replaced by a folder on the container's disk, which", () => {
    it.effect.each([
      ["/app if it is writable", { planted: { "/app": null } }, "/app"],
      ["the user's cache folder if there is no /app", {}, "/home/me/.cache/worker-tetra/workspace"],
      [
        "the user's cache folder if /app is not writable",
        {
          planted: { "/app": null },
          faults: [{ method: "writeFile", code: "EACCES", path: /^\/app\// }],
        },
        "/home/me/.cache/worker-tetra/workspace",
      ],
      [
        "WORKER_WORKSPACE_PATH if it is set",
        { planted: { "/app": null }, variables: { WORKER_WORKSPACE_PATH: "/data" } },
        "/data",
      ],
    ] as ReadonlyArray<readonly [string, Machine, string]>)("is %s", ([, machine, directory]) => {
      const { provide } = setUp(machine);
      return Effect.gen(function* () {
        assert.deepStrictEqual((yield* places).own, {
          directory,
          shared: false,
          caches: directory,
          cachedModels: Option.none(),
        });
      }).pipe(provide);
    });
  });
});
