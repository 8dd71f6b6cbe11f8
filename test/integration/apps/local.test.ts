import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { flashFiles, packApp, writeApp } from "../../support/apps/PackedApp.ts";
import { eventually } from "../../support/effects/Waiting.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { ask } from "../../support/http/HttpRequest.ts";
import { workerProcess } from "../../support/processes/WorkerProcess.ts";

const files = flashFiles([
  {
    name: "greet",
    source: "def greet(name='nobody'):\n    print('greeting')\n    return f'Hello {name}'",
  },
  {
    name: "broken",
    source:
      "import os\ndef broken():\n    raise ValueError(os.environ['FLASH_RESOURCE_NAME'] + os.environ['RUNPOD_ENDPOINT_ID'])",
  },
  {
    name: "relay",
    source: `
import json, os, urllib.request
def relay(name):
    request = urllib.request.Request(
        os.environ["RUNPOD_ENDPOINT_BASE_URL"] + "/flash/runsync",
        json.dumps({"input": {"name": name}}).encode(),
        {"content-type": "application/json", "X-Flash-Endpoint": "greet",
         "authorization": "Bearer " + os.environ["RUNPOD_API_KEY"]},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["output"]
`,
  },
]);

/** Runs a command until it ends. */
const commandLine = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
  const worker = yield* workerProcess({}, args);
  const { code } = yield* worker.ended;
  return { code, stdout: worker.stdout(), stderr: worker.stderr() };
});

const runJobs = (path: string, resource: string, ...inputs: ReadonlyArray<string>) =>
  commandLine("run", "--app", path, "--resource", resource, ...inputs);

describe("run --app", () => {
  it.live("runs jobs of an archive or a folder, and shows their results", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const archive = packApp(folder, files);
      for (const path of [archive, join(folder, "content")]) {
        const { code, stdout } = yield* runJobs(path, "greet", '{"name": "you"}', '{"input": {}}');
        assert.strictEqual(code, 0);
        assert.include(stdout, 'result: "Hello you"');
        assert.include(stdout, 'result: "Hello nobody"');
        assert.include(stdout, "greeting");
      }
    }).pipe(Effect.scoped),
  );

  it.live("ends with 1 if a job failed, and shows its traceback", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      writeApp(folder, files);
      const { code, stdout } = yield* runJobs(folder, "broken", "{}");
      assert.strictEqual(code, 1);
      assert.match(stdout, /failed in .*: broken/);
      assert.match(stdout, /broken\.py", line 3, in broken/);
    }).pipe(Effect.scoped),
  );

  it.live("ends with 2 if there is no app, or if it has several resources", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const missing = yield* commandLine("run", "--app", join(folder, "no.tar.gz"), "{}");
      assert.strictEqual(missing.code, 2);
      assert.include(missing.stderr, "no.tar.gz");
      writeApp(folder, files);
      const several = yield* commandLine("run", "--app", folder, "{}");
      assert.strictEqual(several.code, 2);
      assert.include(several.stderr, "greet (queue), broken (queue), relay (queue)");
    }).pipe(Effect.scoped),
  );
});

describe("start --test_input", () => {
  it.live("runs one job of the deployed app, and prints its result", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const variables = {
        FLASH_RESOURCE_NAME: "greet",
        FLASH_BUILD_ARTIFACT_PATH: packApp(folder, files),
        RUNPOD_APP_DIR: join(folder, "app"),
      };
      const worker = yield* workerProcess(variables, [
        "start",
        "--test_input",
        '{"input": {"name": "you"}}',
      ]);
      assert.strictEqual((yield* worker.ended).code, 0);
      assert.include(worker.stdout(), '{"output":"Hello you"}');
    }).pipe(Effect.scoped),
  );
});

const serving = Effect.fnUntraced(function* (
  args: ReadonlyArray<string>,
  variables: Readonly<Record<string, string>> = {},
) {
  const worker = yield* workerProcess(variables, ["serve", "--port", "0", ...args]);
  const [, port] = yield* worker.wrote(/RUNPOD_ENDPOINT_BASE_URL=http:\/\/[^ ]+:(\d+)\/v2/);
  const post = (path: string, input: unknown, headers: Readonly<Record<string, string>> = {}) =>
    ask(Number(port), path, { body: { input }, headers });
  return { worker, port: Number(port), post };
});

describe("serve --app", () => {
  it.live("serves each resource at its own path, and by the header of the sentinel", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const { post, worker } = yield* serving(["--app", packApp(folder, files)]);
      const direct = yield* post("/v2/greet/runsync", { name: "you" });
      assert.deepInclude(direct.json, { status: "COMPLETED", output: "Hello you" });
      const named = yield* post("/v2/flash/runsync", null, { "x-flash-endpoint": "broken" });
      assert.deepInclude(named.json, { status: "FAILED", error: "brokenbroken" });
      const relayed = yield* post("/v2/relay/runsync", { name: "me" });
      assert.deepInclude(relayed.json, { output: "Hello me" });
      const unknown = yield* post("/v2/other/runsync", {});
      assert.strictEqual(unknown.status, 404);
      assert.include(unknown.text, "greet, broken, relay");
      assert.include(worker.stdout(), "greeting\n");
      yield* worker.signal("SIGTERM");
      assert.strictEqual((yield* worker.ended).code, 0);
    }).pipe(Effect.scoped),
  );

  it.live("serves one resource, whose code calls with the key of the server", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      writeApp(folder, files);
      const key = "key-of-this-server";
      const { post, worker } = yield* serving(["--app", folder, "--resource", "greet"], {
        WORKER_SERVE_KEY: key,
      });
      yield* eventually(() => worker.stderr().includes("App ready: greet"));
      assert.strictEqual((yield* post("/v2/greet/runsync", {})).status, 401);
      const authorization = `Bearer ${key}`;
      const { json } = yield* post("/v2/greet/runsync", {}, { authorization });
      assert.deepInclude(json, { output: "Hello nobody" });
      assert.strictEqual((yield* post("/v2/relay/runsync", {}, { authorization })).status, 404);
    }).pipe(Effect.scoped),
  );
});
