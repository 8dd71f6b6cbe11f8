import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Schema } from "effect";

import { deployedWorker } from "../../support/apps/DeployedWorker.ts";
import { flashFiles, sdkFiles } from "../../support/apps/PackedApp.ts";
import { eventually } from "../../support/effects/Waiting.ts";
import { ask } from "../../support/http/HttpRequest.ts";
import { makeWheels } from "../../support/python/Wheels.ts";

/** An app of Flash with one function. */
const app = (source: string, more: object = {}) => flashFiles([{ name: "f", source }], more);

const good = app("def f(x=1): return x");

const errorOf = (body: Readonly<Record<string, unknown>>): string => String(body["error"]);

const decodeBootstrapError = Schema.decodeUnknownSync(
  Schema.fromJsonString(Schema.Struct({ error_type: Schema.String, error_message: Schema.String })),
);

/** Starts the app again for each job. */
const retrying = { WORKER_APP_RETRY: "0" };

describe("the start of an app", () => {
  it.live("fails its jobs while the archive is missing, and runs them when it is there", () =>
    Effect.gen(function* () {
      const { answer, archive, pack, service, worker } = yield* deployedWorker("f", {
        variables: retrying,
      });
      for (const input of [{}, null]) {
        const error = decodeBootstrapError(errorOf(yield* answer(input)));
        assert.strictEqual(error.error_type, "BootstrapError");
        assert.include(error.error_message, "failed during 'locate'");
        assert.include(error.error_message, archive);
      }
      assert.isAtLeast(service.pings.length, 1);
      pack(good);
      assert.deepStrictEqual(yield* answer({ x: 2 }), { output: 2 });
      assert.lengthOf(
        worker.logs().filter(({ message }) => message.includes("started for endpoint")),
        1,
      );
    }).pipe(Effect.scoped),
  );

  it.live("keeps jobs waiting while the archive may still come", () =>
    Effect.gen(function* () {
      const { pack, service } = yield* deployedWorker("f", {
        variables: { RUNPOD_ARTIFACT_WAIT: "100" },
      });
      const id = service.submit({ x: 3 });
      // The worker reports the job as its own.
      yield* service.until(() => service.pings.some(({ ids }) => ids.includes(id)));
      assert.isEmpty(service.results);
      pack(good);
      assert.deepStrictEqual((yield* service.result(id)).body, { output: 3 });
    }).pipe(Effect.scoped),
  );

  it.live("fails its jobs with a truncated archive, and runs them with a whole one", () =>
    Effect.gen(function* () {
      const big = { ...good, "data.bin": Buffer.alloc(100_000).toString("base64") };
      const { answer, archive, folder, pack } = yield* deployedWorker("f", {
        variables: { ...retrying, FLASH_APP: "demo" },
      });
      pack(big);
      truncateSync(archive, Math.floor(readFileSync(archive).byteLength / 2));
      const error = errorOf(yield* answer({}));
      assert.include(error, "The app failed to start in 'locate'");
      assert.include(error, archive);
      assert.notInclude(error, join(folder, "content"));
      pack(good);
      assert.deepStrictEqual(yield* answer({ x: 2 }), { output: 2 });
    }).pipe(Effect.scoped),
  );

  it.live.each<readonly [string, Parameters<typeof app>, ReadonlyArray<string | RegExp>]>([
    [
      "was built for another version of Python",
      ["def f(): return 1", { python_version: "3.5" }],
      ["in 'verify'", "built for Python 3.5", "this worker runs Python 3."],
    ],
    [
      "raises an exception when it is imported",
      ["def helper():\n    raise RuntimeError('no weights')\nhelper()\ndef f(): pass"],
      ["in 'import'", "RuntimeError: no weights", /f\.py", line 2, in helper/],
    ],
    ["has a syntax error", ["def f(:"], ["in 'import'", "SyntaxError", "f.py"]],
    [
      "ends its process when it is imported",
      ["import os\nprint('before', flush=True)\nos._exit(3)"],
      ["in 'import'", "exit code 3", "before"],
    ],
    ["does not define its function", ["def g(): pass"], ["in 'import'", "'f'"]],
  ])("fails each job with the reason if it %s", ([, source, expected]) =>
    Effect.gen(function* () {
      const { answer } = yield* deployedWorker("f", {
        files: app(...source),
        variables: { FLASH_APP: "demo" },
      });
      for (const input of [{}, { x: 1 }]) {
        const error = errorOf(yield* answer(input));
        for (const part of expected) {
          if (typeof part === "string") assert.include(error, part);
          else assert.match(error, part);
        }
      }
    }).pipe(Effect.scoped),
  );

  it.live("fails its jobs with the traceback of its constructor or init hook", () =>
    Effect.gen(function* () {
      const files = flashFiles([
        {
          name: "C",
          is_class: true,
          class_methods: ["m"],
          source:
            "class C:\n    def __init__(self): self.load()\n    def load(self): raise OSError('no disk')\n    def m(self): pass",
        },
      ]);
      const flash = yield* deployedWorker("C", { files });
      const error = errorOf(yield* flash.answer({}));
      assert.include(error, "in 'construct'");
      assert.match(error, /OSError: no disk[\s\S]*C\.py", line 3, in load/);
      const sdk = yield* deployedWorker("f", {
        files: sdkFiles([{ name: "f" }], "def f(): pass\ndef init_f(): raise OSError('no disk')"),
      });
      const { error_message } = decodeBootstrapError(errorOf(yield* sdk.answer({})));
      assert.include(error_message, "failed during 'construct'");
      assert.include(error_message, "no disk");
    }).pipe(Effect.scoped),
  );

  it.live("names the resources of the app if the given one is unknown", () =>
    Effect.gen(function* () {
      const { answer } = yield* deployedWorker("other", { files: good });
      assert.match(errorOf(yield* answer({})), /other.*\bf\b/);
    }).pipe(Effect.scoped),
  );

  it.live("responds with 500 if its jobs come from a queue, but the endpoint has none", () =>
    Effect.gen(function* () {
      const { service, worker } = yield* deployedWorker("f", {
        files: good,
        variables: { FLASH_ENDPOINT_TYPE: "lb", PORT: "0" },
      });
      const [, port] = yield* worker.wrote(/Listening on 0\.0\.0\.0:(\d+)/);
      const { status, text } = yield* ask(Number(port), "/work");
      assert.strictEqual(status, 500);
      assert.include(text, "f runs jobs from a queue and serves no HTTP requests");
      assert.isEmpty(service.requests.filter(({ route }) => route === "take"));
    }).pipe(Effect.scoped),
  );

  it.live("takes no jobs on a machine without Python", () =>
    Effect.gen(function* () {
      const { service, worker } = yield* deployedWorker("f", {
        files: good,
        variables: { WORKER_PYTHON: "/nonexistent/python" },
      });
      service.submit({});
      assert.strictEqual((yield* worker.ended).code, 1);
      assert.isEmpty(service.requests.filter(({ route }) => route === "take"));
      const reports = service.pings.filter(({ query }) => query.get("status") === "unhealthy");
      assert.deepStrictEqual(
        reports.map(({ query }) => query.get("check")),
        ["python"],
      );
    }).pipe(Effect.scoped),
  );

  it.live("starts with missing modules, which are installed and logged", () =>
    Effect.gen(function* () {
      const { answer, worker } = yield* deployedWorker("f", {
        files: app("import absent_one\ndef f():\n    return absent_one.__name__"),
        prepare: (folder) => ({
          WORKER_WORKSPACE_PATH: join(folder, "workspace"),
          UV_FIND_LINKS: makeWheels(join(folder, "wheels"), {
            "absent_one-1.0": { files: { "absent_one.py": "X = 1" } },
          }),
        }),
      });
      assert.deepStrictEqual(yield* answer({}), { output: "absent_one" });
      assert.isTrue(
        worker
          .logs()
          .some(({ message }) => message.includes("installing absent_one from the package index")),
      );
    }).pipe(Effect.scoped),
  );
});

describe("a job of a deployed app", () => {
  it.live("that ends its process fails with its output, and the next one runs", () =>
    Effect.gen(function* () {
      const { answer } = yield* deployedWorker("f", {
        files: app(
          "import os\ndef f(x=0):\n    print('printed', flush=True)\n    if x: os._exit(x)\n    return 'fine'",
        ),
      });
      const error = errorOf(yield* answer({ x: 3 }));
      assert.include(error, "exit code 3");
      assert.include(error, "printed");
      assert.deepStrictEqual(yield* answer({}), { output: "fine" });
    }).pipe(Effect.scoped),
  );

  it.live("fails if it exceeds WORKER_JOB_TIMEOUT or its result exceeds WORKER_RESULT_LIMIT", () =>
    Effect.gen(function* () {
      const { answer } = yield* deployedWorker("f", {
        files: app(
          "import time\ndef f(seconds=0, size=1):\n    print('started', flush=True)\n    time.sleep(seconds)\n    return 'x' * size",
        ),
        variables: { WORKER_JOB_TIMEOUT: "1", WORKER_RESULT_LIMIT: "65536" },
      });
      const late = errorOf(yield* answer({ seconds: 1000 }));
      assert.include(late, "WORKER_JOB_TIMEOUT");
      assert.include(late, "Its output:\nstarted");
      const large = yield* answer({ size: 100_000 });
      assert.include(errorOf(large), "WORKER_RESULT_LIMIT allows at most 64 KiB");
      assert.notProperty(large, "output");
      assert.deepStrictEqual(yield* answer({ size: 2 }), { output: "xx" });
    }).pipe(Effect.scoped),
  );

  it.live("that RunPod stops has no result, and the next one runs in the same process", () =>
    Effect.gen(function* () {
      const { answer, service, worker } = yield* deployedWorker("f", {
        files: app(
          "import os, time\ndef f(seconds=0):\n    print('sleeping', flush=True)\n    time.sleep(seconds)\n    return os.getpid()",
        ),
      });
      const { output: before } = yield* answer({});
      const id = service.submit({ seconds: 1000 });
      yield* eventually(() => worker.stdout().split("sleeping").length === 3);
      service.stop(id);
      const { output: after } = yield* answer({});
      assert.strictEqual(after, before);
      assert.isFalse(service.results.some((posted) => posted.id === id));
    }).pipe(Effect.scoped),
  );

  it.live("finishes while the worker drains, which then ends with 0", () =>
    Effect.gen(function* () {
      const { folder, service, worker } = yield* deployedWorker("f", {
        files: app(
          "import pathlib, time\ndef f(path):\n    print('waiting', flush=True)\n    while not pathlib.Path(path).exists():\n        time.sleep(0.01)\n    return 'done'",
        ),
      });
      const id = service.submit({ path: join(folder, "go") });
      yield* eventually(() => worker.stdout().includes("waiting"));
      yield* worker.signal("SIGTERM");
      yield* eventually(() => worker.logs().some(({ message }) => message.includes("Draining")));
      writeFileSync(join(folder, "go"), "");
      assert.deepStrictEqual((yield* service.result(id)).body, { output: "done" });
      assert.strictEqual((yield* worker.ended).code, 0);
    }).pipe(Effect.scoped),
  );

  it.live("sees the variables of the endpoint, but not the worker's own credentials", () =>
    Effect.gen(function* () {
      const { answer } = yield* deployedWorker("f", {
        files: app(
          "import os\ndef f():\n    return {name: os.environ.get(name) for name in NAMES}\nNAMES = ['RUNPOD_API_KEY', 'FLASH_RESOURCE_NAME', 'FLASH_APP', 'RUNPOD_AI_API_KEY', 'RUNPOD_WEBHOOK_GET_JOB']",
        ),
        variables: { RUNPOD_API_KEY: "rpa_for_sibling_resources", FLASH_APP: "demo" },
      });
      assert.deepStrictEqual(yield* answer({}), {
        output: {
          RUNPOD_API_KEY: "rpa_for_sibling_resources",
          FLASH_RESOURCE_NAME: "f",
          FLASH_APP: "demo",
          RUNPOD_AI_API_KEY: null,
          RUNPOD_WEBHOOK_GET_JOB: null,
        },
      });
    }).pipe(Effect.scoped),
  );

  it.live("has the keys of a live request as arguments, but not in a development session", () =>
    Effect.gen(function* () {
      const files = app("def f(**arguments):\n    return sorted(arguments)");
      const input = {
        function_name: "g",
        function_code: "def g(): return 'live'",
        serialization_format: "json",
      };
      const { answer } = yield* deployedWorker("f", { files });
      assert.deepStrictEqual(yield* answer(input), { output: Object.keys(input).toSorted() });
      const live = yield* deployedWorker("f", { files, variables: { RUNPOD_DEV_APP: "demo" } });
      const { output } = yield* live.answer(input);
      assert.strictEqual(Object(output)["json_result"], "live");
    }).pipe(Effect.scoped),
  );
});
