import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { deployedWorker } from "../../support/apps/DeployedWorker.ts";
import { sdkFiles } from "../../support/apps/PackedApp.ts";

const files = {
  ...sdkFiles(
    [{ name: "greet" }, { name: "count" }, { name: "meet", maxConcurrency: 2 }],
    `
import asyncio, os
from packaged import GREETING
model = None
waiting = 0
everybody = asyncio.Event()
def init_greet():
    global model
    model = GREETING
def greet(name="nobody"):
    if name == "error":
        raise KeyError("no such name")
    return f"{model} {name} in {os.path.basename(os.getcwd())}"
def count(to):
    for n in range(to):
        if n == 2:
            yield {"error": "that is enough"}
        yield n
async def meet():
    global waiting
    waiting += 1
    if waiting == 3:
        everybody.set()
    await everybody.wait()
    return waiting
`,
  ),
  // Hides the one of the app folder.
  "env/packaged.py": "GREETING = 'Hello'",
  "packaged.py": "GREETING = 'Wrong'",
};

describe("a deployed app of SDK 2.0", () => {
  it.live("runs its init hook once and its jobs in the app folder, with the packages of env", () =>
    Effect.gen(function* () {
      const { answer } = yield* deployedWorker("greet", { files });
      assert.deepStrictEqual(yield* answer({ name: "you" }), { output: "Hello you in app" });
      assert.deepStrictEqual(yield* answer({ __empty: true }), { output: "Hello nobody in app" });
      const failed = yield* answer({ name: "error" });
      assert.deepStrictEqual(Object.keys(failed), ["error"]);
      const error = JSON.parse(String(failed["error"]));
      assert.deepInclude(error, {
        error_type: "<class 'KeyError'>",
        error_message: "'no such name'",
        worker_id: "pod-1",
      });
      assert.match(error.error_traceback, /main\.py", line \d+, in greet/);
    }).pipe(Effect.scoped),
  );

  it.live("fails a stream with an error that it yields", () =>
    Effect.gen(function* () {
      const { service } = yield* deployedWorker("count", { files });
      const id = service.submit({ to: 9 });
      const { body } = yield* service.result(id);
      assert.strictEqual(body["error"], "that is enough");
      assert.deepStrictEqual(service.chunks(id), [0, 1]);
    }).pipe(Effect.scoped),
  );

  it.live("runs as many jobs at once as RUNPOD_MAX_CONCURRENCY says", () =>
    Effect.gen(function* () {
      const { service } = yield* deployedWorker("meet", {
        files,
        variables: { RUNPOD_MAX_CONCURRENCY: "3" },
      });
      const ids = [1, 2, 3].map(() => service.submit({}));
      const posted = yield* Effect.forEach(ids, service.result);
      assert.deepStrictEqual(
        posted.map(({ body }) => body["output"]),
        [3, 3, 3],
      );
    }).pipe(Effect.scoped),
  );
});
