import { assert, describe, it } from "@effect/vitest";
import { Context, Duration, Effect, Layer, Option } from "effect";
import { TestClock } from "effect/testing";

import { BackgroundWork } from "../../../src/platform/BackgroundWork.ts";
import { DiskFault } from "../../../src/platform/files/DiskFault.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import type { Place } from "../../../src/venv/Place.ts";
import { LocalModels, modelFolders } from "../../../src/workspace/models/LocalModels.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";
import { answeringVolumeProcess } from "../../support/machine/AnsweringVolumeProcess.ts";

const place: Place = {
  directory: "/runpod-volume/runtimes/one",
  shared: true,
  caches: "/runpod-volume",
  cachedModels: Option.none(),
};

const HUB = "/runpod-volume/.hf-cache/hub";
const HOT = "/runpod-volume/.hf-cache/hot-models/one.json";
const FOLDERS = modelFolders("/home/me/.cache/worker-tetra", place);
const RECORDS = `${FOLDERS.local}/used/one`;
const VIEW = `${FOLDERS.local}/hub`;

const VARIABLES = { HF_HUB_CACHE: HUB, HUGGINGFACE_HUB_CACHE: HUB, HF_HOME: "/h" };

const MODEL = { name: "models--a--one", revision: "abc", usedAt: 0 };
const KNOWN = { [HOT]: JSON.stringify({ models: [MODEL] }) };

const STEP = { isDone: true, isFull: false, bytes: 0, problems: [] };

const hangs = new DiskFault({
  path: "/runpod-volume",
  problem: "can't be accessed",
  code: "ETIMEDOUT",
  detail: "the network volume does not respond",
});

const setUp = Effect.fnUntraced(function* (
  planted: Readonly<Record<string, string>> = KNOWN,
  answers: Readonly<Record<string, () => Effect.Effect<unknown, DiskFault>>> = {},
  variables: Readonly<Record<string, string>> = { WORKER_LOCAL_MODELS: "50GB" },
) {
  const memory = memoryFileSystem({ "/home/me/.cache": null, ...planted });
  const logs = keptLogs();
  const defaults = {
    "models.open": () => Effect.succeed(VIEW),
    "models.copy": () => Effect.succeed(STEP),
  };
  const volume = answeringVolumeProcess(({ operation }) => {
    const answer = { ...defaults, ...answers }[operation];
    return answer === undefined ? Effect.succeed(null) : answer();
  });
  const context = yield* Layer.build(
    LocalModels.layerNoDeps.pipe(
      Layer.provideMerge(BackgroundWork.layer),
      Layer.provide([
        memory.layer,
        volume.layer,
        Environment.layerOf({ HOME: "/home/me", RUNPOD_ENDPOINT_ID: "one", ...variables }),
      ]),
      Layer.provideMerge(logs.layer),
    ),
  );
  return {
    memory,
    logs,
    requests: volume.requests,
    operations: () => volume.requests.map(({ operation }) => operation),
    variables: (...args: Parameters<LocalModels["Service"]["variables"]>) =>
      Effect.provide(Context.get(context, LocalModels).variables(...args), logs.layer),
    background: Context.get(context, BackgroundWork),
  };
});

describe("LocalModels", () => {
  it.effect("shows jobs the view, with local copies of hot models", () =>
    Effect.gen(function* () {
      const { variables, operations, requests } = yield* setUp();
      assert.deepStrictEqual(yield* variables(place, VARIABLES), {
        WORKER_MODEL_USE: RECORDS,
        HF_HUB_CACHE: VIEW,
        HUGGINGFACE_HUB_CACHE: VIEW,
      });
      yield* TestClock.adjust(Duration.zero);
      assert.deepStrictEqual(operations(), ["models.open", "models.copy"]);
      assert.deepInclude(requests[0]?.args, { ...FOLDERS, hot: [MODEL], limit: 50e9 });
    }),
  );

  it.effect("changes nothing unless the user wants copies of models", () =>
    Effect.gen(function* () {
      for (const setting of [{}, { WORKER_LOCAL_MODELS: "off" }] as const) {
        const { variables, operations } = yield* setUp(KNOWN, {}, setting);
        assert.deepStrictEqual(yield* variables(place, VARIABLES), {});
        assert.isEmpty(operations());
      }
    }),
  );

  it.effect("changes nothing if the user has set another cache, or without a volume", () =>
    Effect.gen(function* () {
      const { variables } = yield* setUp();
      assert.deepStrictEqual(yield* variables(place, { HF_HUB_CACHE: "/mine" }), {});
      assert.deepStrictEqual(yield* variables({ ...place, caches: "/app" }, VARIABLES), {});
    }),
  );

  it.effect("lets jobs use the volume itself until a model is hot", () =>
    Effect.gen(function* () {
      const { variables, operations } = yield* setUp({});
      assert.deepStrictEqual(yield* variables(place, VARIABLES), { WORKER_MODEL_USE: RECORDS });
      assert.isEmpty(operations());
    }),
  );

  it.effect("records the models that jobs use a second after their end", () =>
    Effect.gen(function* () {
      const { variables, memory, background, operations } = yield* setUp({});
      yield* variables(place, VARIABLES);
      yield* background.busy(
        Effect.gen(function* () {
          yield* memory.files.writeFileString(`${RECORDS}/models--a--one@abc`, "");
          yield* TestClock.adjust(Duration.seconds(5));
          assert.isFalse(yield* memory.files.exists(HOT));
        }),
      );
      yield* TestClock.adjust(Duration.seconds(1));
      assert.include(yield* memory.files.readFileString(HOT), "models--a--one");
      assert.deepStrictEqual(yield* memory.files.readDirectory(RECORDS), []);
      // There is no view to update.
      assert.isEmpty(operations());
    }),
  );

  it.effect("updates the view after a job used a model, and each minute", () =>
    Effect.gen(function* () {
      const { variables, memory, operations } = yield* setUp();
      yield* variables(place, VARIABLES);
      const refreshes = () => operations().filter((name) => name === "models.refresh").length;
      yield* TestClock.adjust(Duration.seconds(50));
      assert.strictEqual(refreshes(), 0);
      yield* memory.files.writeFileString(`${RECORDS}/models--a--one@abc`, "");
      yield* TestClock.adjust(Duration.seconds(1));
      assert.strictEqual(refreshes(), 1);
      yield* TestClock.adjust(Duration.minutes(2));
      assert.strictEqual(refreshes(), 2);
    }),
  );

  it.effect("copies in steps, none of which starts while a job runs", () =>
    Effect.gen(function* () {
      let steps = 0;
      const copy = () =>
        Effect.sync(() => {
          steps += 1;
          return { ...STEP, isDone: steps === 3, bytes: steps * 1e9 };
        });
      const { variables, background, logs } = yield* setUp(KNOWN, { "models.copy": copy });
      yield* background.busy(
        Effect.gen(function* () {
          yield* variables(place, VARIABLES);
          yield* TestClock.adjust(Duration.minutes(1));
          assert.strictEqual(steps, 0);
        }),
      );
      yield* TestClock.adjust(Duration.zero);
      assert.strictEqual(steps, 3);
      assert.include(logs.notices().join(), "Copied models (3.0 GB)");
    }),
  );

  it.effect("reports damaged files, and that the limit is reached", () =>
    Effect.gen(function* () {
      const step = { ...STEP, isFull: true, bytes: 5, problems: ["/blob is damaged"] };
      const { variables, logs } = yield* setUp(KNOWN, {
        "models.copy": () => Effect.succeed(step),
      });
      yield* variables(place, VARIABLES);
      yield* TestClock.adjust(Duration.zero);
      assert.deepStrictEqual(logs.warnings(), ["/blob is damaged"]);
      assert.include(logs.notices().join(), "exceeds WORKER_LOCAL_MODELS");
    }),
  );

  it.effect("falls back to the models on the volume, and says why, if the view can't be made", () =>
    Effect.gen(function* () {
      const { variables, logs } = yield* setUp(KNOWN, { "models.open": () => Effect.fail(hangs) });
      assert.deepStrictEqual(yield* variables(place, VARIABLES), {});
      assert.lengthOf(logs.warnings(), 1);
      assert.include(logs.warnings()[0], "does not respond");
    }),
  );

  it.effect("starts the work in the background once", () =>
    Effect.gen(function* () {
      const { variables, operations } = yield* setUp();
      yield* variables(place, VARIABLES);
      yield* variables(place, VARIABLES);
      yield* TestClock.adjust(Duration.zero);
      assert.lengthOf(
        operations().filter((name) => name === "models.copy"),
        1,
      );
    }),
  );
});
