import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, Layer, Option } from "effect";

import { Environment } from "../../../src/settings/Environment.ts";
import type { Place } from "../../../src/venv/Place.ts";
import { jobEnvironment } from "../../../src/workspace/JobEnvironment.ts";
import { linkModels } from "../../../src/workspace/activation/ModelCache.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { type Fault, faultyFileSystem } from "../../support/files/FaultyFileSystem.ts";
import { memoryFileSystem, type Planted } from "../../support/files/MemoryFileSystem.ts";

const SOURCE = "/runpod-volume/huggingface-cache/hub";
const CACHE = "/runpod-volume/.hf-cache";

const volume: Place = {
  directory: "/runpod-volume/runtimes/default",
  shared: true,
  caches: "/runpod-volume",
  cachedModels: Option.some(SOURCE),
};

const own: Place = { ...volume, directory: "/app", caches: "/app", shared: false };

const MODELS = {
  [`${SOURCE}/models--org--one/snapshots`]: null,
  [`${SOURCE}/models--org--two`]: null,
  [`${SOURCE}/version.txt`]: "1",
};

const setUp = (
  planted: Readonly<Record<string, Planted>> = MODELS,
  faults: ReadonlyArray<Fault> = [],
) => {
  const memory = memoryFileSystem(planted);
  const logs = keptLogs();
  const link = (place: Place = volume, variables: Readonly<Record<string, string>> = {}) =>
    Effect.flatMap(FileSystem.FileSystem, (files) =>
      linkModels(files, place, jobEnvironment(Environment.make(variables), place, "/venv", "key")),
    ).pipe(
      Effect.provide(Layer.merge(faultyFileSystem(memory.contended, faults).layer, logs.layer)),
    );
  return { memory, link, logs };
};

describe("linkModels", () => {
  it.effect("links every cached model of RunPod into the hub cache", () => {
    const { memory, link, logs } = setUp();
    return Effect.gen(function* () {
      yield* link();
      const shown = memory.show();
      for (const name of ["models--org--one", "models--org--two"]) {
        assert.deepStrictEqual(shown[`${CACHE}/hub/${name}`], { link: `${SOURCE}/${name}` });
      }
      assert.notProperty(shown, `${CACHE}/hub/version.txt`);
      assert.isEmpty(logs.warnings());
    });
  });

  it.effect("links the cache of old versions of transformers to the hub cache", () => {
    const { memory, link } = setUp();
    return Effect.gen(function* () {
      yield* link();
      assert.deepStrictEqual(memory.show()[`${CACHE}/transformers`], { link: "hub" });
      assert.isTrue(yield* memory.files.exists(`${CACHE}/transformers/models--org--one`));
    });
  });

  it.effect("changes nothing when it runs again", () => {
    const { memory, link, logs } = setUp();
    return Effect.gen(function* () {
      yield* link();
      const before = memory.show();
      yield* link();
      assert.deepStrictEqual(memory.show(), before);
      assert.isEmpty(logs.warnings());
    });
  });

  it.effect("does not follow a link in the hub cache, whose target may not respond", () => {
    const staged = { ...own, cachedModels: Option.none(), stagedModels: "/staged" };
    const { memory, link, logs } = setUp(
      {
        "/staged/org/one/abc/config.json": "{}",
        "/app/.hf-cache/hub/models--org--one": { link: `${SOURCE}/models--org--one` },
      },
      [{ method: "access", code: "ETIMEDOUT", path: /models--org--one$/ }],
    );
    return Effect.gen(function* () {
      yield* link(staged);
      assert.isEmpty(memory.paths(/models--org--one\/./));
      assert.isEmpty(logs.warnings());
    });
  });

  it.effect("changes no existing model, folder or link", () => {
    const { memory, link } = setUp({
      ...MODELS,
      [`${CACHE}/hub/models--org--one/mine`]: "x",
      [`${CACHE}/hub/models--org--two`]: { link: "/gone" },
      [`${CACHE}/transformers/mine`]: "x",
    });
    return Effect.gen(function* () {
      const before = memory.show();
      yield* link();
      assert.deepStrictEqual(memory.show(), before);
    });
  });

  it.effect("links into the cache that the user has set", () => {
    const { memory, link } = setUp();
    return Effect.gen(function* () {
      yield* link(volume, { HF_HOME: "/mine" });
      assert.property(memory.show(), "/mine/hub/models--org--one");
      assert.notProperty(memory.show(), `${CACHE}/transformers`);
      yield* link(volume, { HF_HUB_CACHE: "/hub" });
      assert.property(memory.show(), "/hub/models--org--one");
    });
  });

  it.effect("links on the container's disk if there is no volume", () => {
    const { memory, link } = setUp();
    return Effect.gen(function* () {
      yield* link(own);
      assert.deepStrictEqual(memory.show()["/app/.hf-cache/hub/models--org--two"], {
        link: `${SOURCE}/models--org--two`,
      });
    });
  });

  const STORE = "/runpod/model-store/huggingface";
  const HUB = "/app/.hf-cache/hub";
  const staged: Place = { ...own, cachedModels: Option.none(), stagedModels: STORE };

  it.effect("links a staged model in the layout of the hub cache", () => {
    const { memory, link, logs } = setUp({ [`${STORE}/org/one/abc123/config.json`]: "{}" });
    return Effect.gen(function* () {
      yield* link(staged);
      const shown = memory.show();
      assert.deepStrictEqual(shown[`${HUB}/models--org--one/snapshots/abc123`], {
        link: `${STORE}/org/one/abc123`,
      });
      assert.strictEqual(shown[`${HUB}/models--org--one/refs/main`], "abc123");
      assert.isTrue(
        yield* memory.files.exists(`${HUB}/models--org--one/snapshots/abc123/config.json`),
      );
      assert.isEmpty(logs.warnings());
    });
  });

  it.effect.each([
    ["b", "b"],
    ["gone", undefined],
    [undefined, undefined],
  ] as const)("makes MODEL_REVISION the main one of several: %s", ([revision, main]) => {
    const { memory, link } = setUp({ [`${STORE}/org/one/a`]: null, [`${STORE}/org/one/b`]: null });
    return Effect.gen(function* () {
      yield* link(staged, revision === undefined ? {} : { MODEL_REVISION: revision });
      const shown = memory.show();
      assert.property(shown, `${HUB}/models--org--one/snapshots/a`);
      assert.property(shown, `${HUB}/models--org--one/snapshots/b`);
      assert.strictEqual(shown[`${HUB}/models--org--one/refs/main`], main);
    });
  });

  it.effect("does not change a cached or downloaded model that is staged too", () => {
    const { memory, link } = setUp({
      ...MODELS,
      [`${STORE}/org/one/abc`]: null,
      [`${STORE}/org/three/abc`]: null,
      [`${HUB}/models--org--three/snapshots/mine`]: null,
    });
    return Effect.gen(function* () {
      yield* link({ ...staged, cachedModels: Option.some(SOURCE) });
      const shown = memory.show();
      assert.deepStrictEqual(shown[`${HUB}/models--org--one`], {
        link: `${SOURCE}/models--org--one`,
      });
      assert.notProperty(shown, `${HUB}/models--org--three/snapshots/abc`);
    });
  });

  it.effect("ignores files and empty folders in the store", () => {
    const { memory, link, logs } = setUp({
      [`${STORE}/README`]: "x",
      [`${STORE}/org/file`]: "x",
      [`${STORE}/org/empty`]: null,
    });
    return Effect.gen(function* () {
      yield* link(staged);
      assert.notProperty(memory.show(), `${HUB}/models--org--empty`);
      assert.notProperty(memory.show(), `${HUB}/models--org--file`);
      assert.isEmpty(logs.warnings());
    });
  });

  it.effect("creates no cache without a volume or models", () => {
    const { memory, link } = setUp({});
    return Effect.gen(function* () {
      yield* link({ ...own, cachedModels: Option.none() });
      assert.deepStrictEqual(memory.show(), {});
    });
  });

  it.effect.each(["makeDirectory", "symlink", "readDirectory"] as const)(
    "only warns if %s fails",
    (method) => {
      const { link, logs } = setUp(MODELS, [{ method, code: "EIO" }]);
      return Effect.gen(function* () {
        yield* link();
        assert.lengthOf(logs.warnings(), 1);
      });
    },
  );

  it.effect("succeeds when other workers create the links at the same time", () => {
    const { memory, link, logs } = setUp();
    return Effect.gen(function* () {
      yield* Effect.all([link(), link(), link()], { concurrency: "unbounded" });
      assert.property(memory.show(), `${CACHE}/hub/models--org--one`);
      assert.isEmpty(logs.warnings());
    });
  });
});
