import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Duration, Effect, Schema } from "effect";

import { eventually } from "../support/effects/Waiting.ts";
import { hasMooseFs, mooseFs, skippedWithoutMooseFs } from "../support/moosefs/MooseFs.ts";
import { volumeWorker } from "../support/moosefs/VolumeWorker.ts";
import { runCommandLine } from "../support/processes/CommandLineRun.ts";
import { functionInput } from "../support/values/JobInputs.ts";

const MODEL = "models--org--name";
const REVISION = "c".repeat(40);
const WEIGHTS = Buffer.alloc(32_000_000, "weights");

/** What huggingface_hub writes for a model: blobs named by their digests, and links to them. */
const addModel = (volume: string) => {
  const repository = join(volume, ".hf-cache/hub", MODEL);
  const snapshot = join(repository, "snapshots", REVISION);
  for (const name of ["blobs", "refs"]) mkdirSync(join(repository, name), { recursive: true });
  mkdirSync(snapshot, { recursive: true });
  writeFileSync(join(repository, "refs/main"), REVISION);
  const files = {
    "config.json": [Buffer.from("{}"), createHash("sha1").update("blob 2\0{}").digest("hex")],
    "model.safetensors": [WEIGHTS, createHash("sha256").update(WEIGHTS).digest("hex")],
  } as const;
  for (const [name, [content, digest]] of Object.entries(files)) {
    writeFileSync(join(repository, "blobs", digest), content);
    symlinkSync(join("../../blobs", digest), join(snapshot, name));
  }
};

/** Reads the model as libraries do, and returns where its weights are. */
const LOAD = functionInput(`import hashlib, os
def f():
    folder = os.path.join(os.environ["HF_HUB_CACHE"], "${MODEL}", "snapshots", "${REVISION}")
    open(os.path.join(folder, "config.json")).read()
    weights = os.path.join(folder, "model.safetensors")
    with open(weights, "rb") as file:
        return os.path.realpath(weights) + " " + hashlib.md5(file.read()).hexdigest()`);

/** Downloads another model. */
const DOWNLOAD = functionInput(`import os
def f():
    folder = os.path.join(os.environ["HF_HUB_CACHE"], "models--org--new", "snapshots", "${REVISION}")
    os.makedirs(folder)
    with open(os.path.join(folder, "config.json"), "w") as file:
        file.write("{}")
    open(os.path.join(folder, "config.json")).read()`);

const Report = Schema.Struct({
  models: Schema.Array(
    Schema.Struct({ name: Schema.String, bytes: Schema.Finite, localBytes: Schema.Finite }),
  ),
});
const decodeReport = Schema.decodeUnknownSync(Schema.fromJsonString(Report));

const SETTING = { WORKER_LOCAL_MODELS: "1GB" };

describe.skipIf(!hasMooseFs)(`models on MooseFS${skippedWithoutMooseFs}`, () => {
  it.live("that jobs used are read from the disk of a fresh container on another host", () =>
    Effect.gen(function* () {
      const { a, b } = yield* mooseFs();
      addModel(a.path);
      const md5 = createHash("md5").update(WEIGHTS).digest("hex");

      const first = yield* volumeWorker(a.path, SETTING);
      const cold = JSON.stringify(yield* first.answer(LOAD));
      assert.include(cold, md5);
      assert.include(cold, join(a.path, ".hf-cache/hub", MODEL, "blobs"));
      const record = join(b.path, ".hf-cache/hot-models/tests.json");
      yield* eventually(() => existsSync(record) && readFileSync(record, "utf8").includes(MODEL));

      const second = yield* volumeWorker(b.path, SETTING);
      yield* second.wrote("Copied models (32.0 MB)");
      const hot = JSON.stringify(yield* second.answer(LOAD));
      assert.include(hot, md5);
      assert.notInclude(hot, b.path);

      const [elapsed, report] = yield* Effect.timed(
        runCommandLine(["doctor", "--json"], {
          ...second.container,
          RUNPOD_ENDPOINT_ID: "tests",
        }),
      );
      const { models } = decodeReport(report.stdout);
      assert.deepStrictEqual(models, [
        { name: "org/name", bytes: WEIGHTS.length + 42, localBytes: WEIGHTS.length + 2 },
      ]);
      assert.isBelow(Duration.toSeconds(elapsed), 40);

      assert.include(JSON.stringify(yield* second.answer(DOWNLOAD)), '"success":true');
      const downloaded = join(a.path, ".hf-cache/hub/models--org--new/snapshots", REVISION);
      yield* eventually(() => existsSync(join(downloaded, "config.json")));
    }).pipe(Effect.scoped),
  );
});
