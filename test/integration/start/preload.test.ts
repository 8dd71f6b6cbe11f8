import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { fakeRunPod } from "../../support/fakes/FakeRunPod.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { workerProcess } from "../../support/processes/WorkerProcess.ts";
import { functionInput, methodInput } from "../../support/values/JobInputs.ts";

const MODEL = `class Model:
    def __init__(self):
        print("loading weights")
        self.uses = 0
    def use(self):
        self.uses += 1
        return self.uses`;

/** A file with a request. */
const requestFile = Effect.fnUntraced(function* (input: unknown) {
  const file = join(yield* temporaryFolder, "load.json");
  writeFileSync(file, JSON.stringify({ input }));
  return file;
});

describe("WORKER_PRELOAD", () => {
  it.live("creates an instance for jobs, while the worker already takes them", () =>
    Effect.gen(function* () {
      const service = yield* fakeRunPod();
      const file = yield* requestFile(methodInput(MODEL, "Model", "model", "use"));
      const worker = yield* workerProcess({ ...service.variables, WORKER_PRELOAD: file });
      const job = service.submit(methodInput(MODEL, "Model", "model", "use"));
      const { body } = yield* service.result(job);
      assert.deepInclude(body["output"], { json_result: 2, stdout: "" });
      const messages = worker.logs().map(({ message }) => message);
      assert.include(messages, "preload: loading weights");
      assert.isBelow(
        messages.findIndex((message) => message.startsWith("Ready: taking jobs")),
        messages.indexOf("preload: loading weights"),
      );
    }).pipe(Effect.scoped),
  );

  it.live("runs a function of a module, also an asynchronous one, before the first job", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      mkdirSync(join(folder, "app"));
      writeFileSync(
        join(folder, "app", "models.py"),
        "model = None\nasync def load():\n    global model\n    model = lambda: 7\n    return model",
      );
      const service = yield* fakeRunPod();
      yield* workerProcess({
        ...service.variables,
        WORKER_PRELOAD: "app.models:load",
        PYTHONPATH: folder,
      });
      const job = service.submit(
        functionInput("def f():\n    from app.models import model\n    return model()"),
      );
      assert.deepInclude((yield* service.result(job)).body["output"], { json_result: 7 });
    }).pipe(Effect.scoped),
  );

  it.live("that fails three times is the error of the jobs, and the worker ends as unhealthy", () =>
    Effect.gen(function* () {
      const service = yield* fakeRunPod();
      const code = 'def load():\n    print("loading")\n    raise ValueError("no weights")';
      const file = yield* requestFile(functionInput(code, [], { function_name: "load" }));
      const worker = yield* workerProcess({ ...service.variables, WORKER_PRELOAD: file });
      for (let n = 0; n < 5; n += 1) service.submit(functionInput("def f(): return 1"));
      assert.strictEqual((yield* worker.ended).code, 1);
      assert.lengthOf(service.results, 3);
      for (const { body } of service.results) {
        const error = String(body["error"]);
        assert.include(error, `WORKER_PRELOAD (${file}) failed`);
        assert.include(error, "ValueError: no weights");
        assert.include(error, "Traceback");
      }
      const checks = service.pings
        .filter(({ query }) => query.get("status") === "unhealthy")
        .map(({ query }) => query.get("check"));
      assert.deepStrictEqual(checks, ["python"]);
      assert.include(worker.stderr(), "3 times in a row: WORKER_PRELOAD");
    }).pipe(Effect.scoped),
  );

  it.live("that is invalid ends the start with 2", () =>
    Effect.gen(function* () {
      const service = yield* fakeRunPod();
      const worker = yield* workerProcess({
        ...service.variables,
        WORKER_PRELOAD: "/nonexistent.json",
      });
      assert.strictEqual((yield* worker.ended).code, 2);
      assert.include(worker.stderr(), 'WORKER_PRELOAD is "/nonexistent.json"');
      assert.include(worker.stderr(), "The file does not exist");
    }).pipe(Effect.scoped),
  );
});
