import { assert, describe, it } from "@effect/vitest";
import { Duration, Effect, Fiber, Layer, Option } from "effect";
import { TestClock } from "effect/testing";

import { DiskUsage } from "../../../src/platform/files/DiskUsage.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import type { Place } from "../../../src/venv/Place.ts";
import { CachedData } from "../../../src/workspace/models/CachedData.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";
import { answeringVolumeProcess } from "../../support/machine/AnsweringVolumeProcess.ts";

const ROOT = "/runpod-volume";
const KEY = "nvidia-l4_driver-550.54.15_x86-64-v3_3.12.1-abc";

const place: Place = {
  directory: `${ROOT}/runtimes/one`,
  shared: true,
  caches: ROOT,
  cachedModels: Option.none(),
};

const MODELS = [
  { name: "models--org--name", bytes: 5e9, localBytes: 5e9 },
  { name: "datasets--org--rows", bytes: null, localBytes: 0 },
];

const PLANTED = {
  [`${ROOT}/.uv-cache`]: null,
  [`${ROOT}/.triton-cache/${KEY}`]: null,
  [`${ROOT}/.vllm-cache/${KEY}`]: null,
  [`${ROOT}/.vllm-cache/torch_compile_cache`]: null,
};

const listWith = (size: DiskUsage["Service"]["size"]) => {
  const volume = answeringVolumeProcess(() => Effect.succeed(MODELS));
  const disks = DiskUsage.of({
    size,
    space: () => Effect.succeedNone,
    report: () => Effect.succeed(""),
  });
  return Effect.flatMap(CachedData, ({ list }) => list(place)).pipe(
    Effect.provide(
      CachedData.layerNoDeps.pipe(
        Layer.provide([
          Layer.succeed(DiskUsage, disks),
          volume.layer,
          memoryFileSystem(PLANTED).layer,
          Environment.layerOf({ HOME: "/home/me" }),
        ]),
      ),
    ),
  );
};

describe("CachedData", () => {
  it.effect("lists folders, models with their local copies, and kernels by their keys", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* listWith(() => Effect.succeedSome(1000)), {
        sizes: [
          { path: `${ROOT}/.uv-cache`, bytes: 1000 },
          { path: `${ROOT}/.vllm-cache`, bytes: 1000 },
          { path: `${ROOT}/.triton-cache`, bytes: 1000 },
        ],
        models: [
          { name: "org/name", bytes: 5e9, localBytes: 5e9 },
          { name: "datasets/org/rows", bytes: null, localBytes: 0 },
        ],
        kernels: [{ key: KEY, bytes: 2000 }],
      });
    }),
  );

  it.effect("ends after 10 seconds, however many folders take too long", () =>
    Effect.gen(function* () {
      const listing = yield* Effect.forkChild(listWith(() => Effect.never));
      yield* TestClock.adjust(Duration.seconds(10));
      const { sizes, kernels } = yield* Fiber.join(listing);
      assert.deepStrictEqual(
        sizes.map(({ bytes }) => bytes),
        [null, null, null],
      );
      assert.deepStrictEqual(kernels, [{ key: KEY, bytes: null }]);
    }),
  );
});
