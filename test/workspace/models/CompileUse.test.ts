import { assert, describe, it } from "@effect/vitest";
import { Context, Duration, Effect, Layer, Option } from "effect";
import { TestClock } from "effect/testing";

import { BackgroundWork } from "../../../src/platform/BackgroundWork.ts";
import type { Place } from "../../../src/venv/Place.ts";
import { CompileUse } from "../../../src/workspace/models/CompileUse.ts";
import { answeringVolumeProcess } from "../../support/machine/AnsweringVolumeProcess.ts";

const place: Place = {
  directory: "/runpod-volume/runtimes/one",
  shared: true,
  caches: "/runpod-volume",
  cachedModels: Option.none(),
};

const setUp = Effect.gen(function* () {
  const volume = answeringVolumeProcess(() => Effect.succeed(null));
  const context = yield* Layer.build(
    CompileUse.layerNoDeps.pipe(Layer.provide([BackgroundWork.layer, volume.layer])),
  );
  return { mark: Context.get(context, CompileUse).mark, requests: volume.requests };
});

describe("CompileUse", () => {
  it.effect("marks the folders of compiled kernels at the start and once a day", () =>
    Effect.gen(function* () {
      const { mark, requests } = yield* setUp;
      const TRITON_CACHE_DIR = "/runpod-volume/.triton-cache/l4_3.12.1-abc";
      yield* mark(place, { TRITON_CACHE_DIR, HF_HOME: "/runpod-volume/.hf-cache" });
      yield* TestClock.adjust(Duration.zero);
      const request = { operation: "models.touch", args: { paths: [TRITON_CACHE_DIR] } };
      assert.deepStrictEqual(requests, [request]);
      yield* mark(place, { TRITON_CACHE_DIR });
      yield* TestClock.adjust(Duration.days(1));
      assert.deepStrictEqual(requests, [request, request]);
    }),
  );

  it.effect("marks no folder of the user, and none on the container's disk", () =>
    Effect.gen(function* () {
      const { mark, requests } = yield* setUp;
      yield* mark(place, { TRITON_CACHE_DIR: "/runpod-volume/mine/kernels" });
      yield* mark({ ...place, caches: "/app" }, { TRITON_CACHE_DIR: "/app/.triton-cache/l4_1-a" });
      yield* TestClock.adjust(Duration.days(2));
      assert.deepStrictEqual(requests, []);
    }),
  );
});
