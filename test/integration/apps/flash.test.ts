import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { deployedWorker } from "../../support/apps/DeployedWorker.ts";
import { flashFiles } from "../../support/apps/PackedApp.ts";

const files = flashFiles([
  {
    name: "greet",
    source: `
def greet(name="nobody"):
    print(f"greeting {name}", flush=True)
    if name == "error":
        raise KeyError("no such name")
    if name == "dict":
        return {"error": "asked for it", "refresh_worker": True, "rest": 1}
    if name == "object":
        return object()
    return f"Hello {name}"
`,
  },
  {
    name: "Counter",
    is_class: true,
    class_methods: ["add", "get"],
    source: `
class Counter:
    def __init__(self):
        self.n = 0
    def add(self, by=1):
        self.n += by
        return self.n
    def get(self):
        return self.n
`,
  },
  {
    name: "meet",
    max_concurrency: 3,
    source: `
import asyncio
waiting = 0
everybody = asyncio.Event()
async def meet():
    global waiting
    waiting += 1
    if waiting == 3:
        everybody.set()
    await everybody.wait()
    return waiting
`,
  },
  {
    name: "process",
    max_concurrency: 2,
    source: `
import os, time, pathlib
def process(mine, other):
    pathlib.Path(mine).touch()
    while not pathlib.Path(other).exists():
        time.sleep(0.01)
    return os.getpid()
`,
  },
  { name: "count", source: "def count(to):\n    for n in range(to):\n        yield n\n" },
]);

describe("a deployed app of Flash", () => {
  it.live("runs jobs with plain JSON and returns bare results", () =>
    Effect.gen(function* () {
      const { worker, answer } = yield* deployedWorker("greet", { files });
      assert.deepStrictEqual(yield* answer({ name: "you" }), { output: "Hello you" });
      assert.include(worker.stdout(), "greeting you\n");
      for (const input of [null, {}, undefined, { __empty: true }]) {
        assert.deepStrictEqual(yield* answer(input), { output: "Hello nobody" });
      }
      assert.deepStrictEqual(yield* answer([1]), {
        output: { success: false },
        error: "Malformed input: expected dict, got list",
      });
      const failed = yield* answer({ name: "error" });
      assert.strictEqual(failed["error"], "'no such name'");
      assert.match(JSON.stringify(failed["output"]), /"success":false.*greet\.py/);
      assert.deepStrictEqual(yield* answer({ name: "dict" }), {
        output: { rest: 1 },
        error: "asked for it",
        stopPod: true,
      });
      assert.include((yield* answer({ name: "object" }))["error"], "object");
      assert.include(
        worker
          .logs()
          .map(({ message }) => message)
          .join("\n"),
        "App ready: greet (Flash), 1 job at a time",
      );
    }).pipe(Effect.scoped),
  );

  it.live("keeps one instance of a class, also after a job that failed", () =>
    Effect.gen(function* () {
      const { answer } = yield* deployedWorker("Counter", { files });
      assert.deepStrictEqual(yield* answer({ method: "add", by: 2 }), { output: 2 });
      const unknown = yield* answer({ method: "__init__" });
      assert.include(unknown["error"], "unknown method '__init__' on Counter");
      assert.deepStrictEqual(yield* answer({ method: "get" }), { output: 2 });
    }).pipe(Effect.scoped),
  );

  it.live("overlaps asynchronous jobs in one process, as many as max_concurrency says", () =>
    Effect.gen(function* () {
      const { service } = yield* deployedWorker("meet", { files });
      const ids = [1, 2, 3].map(() => service.submit({}));
      const posted = yield* Effect.forEach(ids, service.result);
      assert.deepStrictEqual(
        posted.map(({ body }) => body["output"]),
        [3, 3, 3],
      );
    }).pipe(Effect.scoped),
  );

  it.live("runs synchronous jobs in as many processes as max_concurrency says", () =>
    Effect.gen(function* () {
      const { service, folder } = yield* deployedWorker("process", { files });
      const [a, b] = [`${folder}/a`, `${folder}/b`];
      const ids = [service.submit({ mine: a, other: b }), service.submit({ mine: b, other: a })];
      const posted = yield* Effect.forEach(ids, service.result);
      assert.lengthOf(new Set(posted.map(({ body }) => body["output"])), 2);
    }).pipe(Effect.scoped),
  );

  it.live("streams the values of a generator, and returns all of them", () =>
    Effect.gen(function* () {
      const { service } = yield* deployedWorker("count", { files });
      const id = service.submit({ to: 3 });
      const { body, isStream } = yield* service.result(id);
      assert.deepStrictEqual(service.chunks(id), [0, 1, 2]);
      assert.deepStrictEqual([body, isStream], [{ output: [0, 1, 2] }, "true"]);
    }).pipe(Effect.scoped),
  );
});
