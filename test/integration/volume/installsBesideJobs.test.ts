import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { appendFile } from "node:fs/promises";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Fiber } from "effect";

import { eventually } from "../../support/effects/Waiting.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { ask } from "../../support/http/HttpRequest.ts";
import { call, realWorker } from "../../support/processes/RealWorker.ts";
import { serveInProcess } from "../../support/processes/Serve.ts";
import { makeWheels } from "../../support/python/Wheels.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

/** Reports that it has started, and runs until the gate is opened. */
const WAIT = `def f(started, gate):
    open(started, "w").close()
    with open(gate) as opened:
        return opened.read()`;

const VERSION = "def f():\n    import besides\n    return besides.VERSION";

/** An empty workspace, wheels to install, and a gate (a named pipe) that jobs wait at. */
const scene = Effect.map(temporaryFolder, (folder) => {
  const gate = join(folder, "gate");
  execFileSync("mkfifo", [gate]);
  const started = join(folder, "started");
  return {
    folder,
    gate,
    started,
    hasStarted: eventually(() => existsSync(started)),
    open: Effect.promise(() => appendFile(gate, "opened")),
    settings: {
      WORKER_WORKSPACE_PATH: join(folder, "workspace"),
      UV_FIND_LINKS: makeWheels(join(folder, "wheels"), { "besides-1.0": {}, "besides-2.0": {} }),
    },
  };
});

describe("an install while other jobs run", () => {
  it.live("does not wait for them, even if it replaces packages", () =>
    Effect.gen(function* () {
      const { started, gate, hasStarted, open, settings } = yield* scene;
      yield* Effect.gen(function* () {
        const waiting = yield* Effect.forkChild(call(WAIT, "f", [started, gate]));
        yield* hasStarted;
        for (const version of ["1.0", "2.0", "1.0"]) {
          const response = yield* call(VERSION, "f", [], {
            dependencies: [`besides==${version}`],
          }).pipe(Effect.timeout("60 seconds"));
          assert.deepStrictEqual([response.json_result, response.error], [version, null]);
        }
        assert.isUndefined(waiting.pollUnsafe(), "the first job is still running");
        yield* open;
        assert.strictEqual((yield* Fiber.join(waiting)).json_result, "opened");
        // Both processes find the new packages, including the one that was busy.
        const responses = yield* Effect.all([call(VERSION, "f"), call(VERSION, "f")], {
          concurrency: 2,
        });
        assert.deepStrictEqual(
          responses.map(({ json_result }) => json_result),
          ["1.0", "1.0"],
        );
      }).pipe(Effect.provide(realWorker({ ...settings, WORKER_CONCURRENCY: "2" })));
    }).pipe(Effect.scoped),
  );

  it.live("invalidates the import caches of each process once, at its next call", () =>
    Effect.gen(function* () {
      const { settings } = yield* scene;
      // importlib.invalidate_caches() calls this method of every finder.
      const watch = `import sys
class Finder:
    count = 0
    def find_spec(self, *_): return None
    def invalidate_caches(self): self.count += 1
def f(): sys.meta_path.append(Finder())`;
      const counts = `import sys
def f(): return [finder.count for finder in sys.meta_path if type(finder).__name__ == "Finder"]`;
      yield* Effect.gen(function* () {
        yield* call(watch, "f");
        assert.deepStrictEqual((yield* call(counts, "f")).json_result, [0]);
        const wanted = { dependencies: ["besides"] };
        assert.deepStrictEqual((yield* call(counts, "f", [], wanted)).json_result, [1]);
        assert.deepStrictEqual((yield* call(counts, "f", [], wanted)).json_result, [1]);
        assert.deepStrictEqual((yield* call(counts, "f")).json_result, [1]);
      }).pipe(Effect.provide(realWorker(settings)));
    }).pipe(Effect.scoped),
  );

  it.live("finishes before the other job at the local endpoint", () =>
    Effect.gen(function* () {
      const { started, gate, hasStarted, open, settings } = yield* scene;
      const { port } = yield* serveInProcess(["--concurrency", "2"], settings);
      const waiting = yield* Effect.forkChild(
        ask(port, "/runsync", { body: { input: functionInput(WAIT, [started, gate]) } }),
      );
      yield* hasStarted;
      const response = yield* ask(port, "/runsync", {
        body: { input: functionInput(VERSION, [], { dependencies: ["besides==1.0"] }) },
      }).pipe(Effect.timeout("60 seconds"));
      assert.deepNestedInclude(response.json, { "output.json_result": "1.0" });
      assert.isUndefined(waiting.pollUnsafe(), "the first job is still running");
      yield* open;
      assert.deepNestedInclude((yield* Fiber.join(waiting)).json, {
        "output.json_result": "opened",
      });
    }).pipe(Effect.scoped),
  );
});
