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
const HOLD = `def f(begun, gate):
    open(begun, "w").close()
    with open(gate) as opened:
        return opened.read()`;

const VERSION = "def f():\n    import besides\n    return besides.VERSION";

/** A fresh workspace, wheels to install, and a gate that jobs can wait at. */
const scene = Effect.map(temporaryFolder, (folder) => {
  const gate = join(folder, "gate");
  execFileSync("mkfifo", [gate]);
  const begun = join(folder, "begun");
  return {
    folder,
    gate,
    begun,
    isHeld: eventually(() => existsSync(begun)),
    open: Effect.promise(() => appendFile(gate, "opened")),
    settings: {
      WORKER_WORKSPACE_PATH: join(folder, "workspace"),
      UV_FIND_LINKS: makeWheels(join(folder, "wheels"), { "besides-1.0": {}, "besides-2.0": {} }),
    },
  };
});

describe("an install while other jobs run", () => {
  it.live("does not wait for them, whether it adds or changes packages", () =>
    Effect.gen(function* () {
      const { begun, gate, isHeld, open, settings } = yield* scene;
      yield* Effect.gen(function* () {
        const held = yield* Effect.forkChild(call(HOLD, "f", [begun, gate]));
        yield* isHeld;
        for (const version of ["1.0", "2.0", "1.0"]) {
          const answer = yield* call(VERSION, "f", [], {
            dependencies: [`besides==${version}`],
          }).pipe(Effect.timeout("60 seconds"));
          assert.deepStrictEqual([answer.json_result, answer.error], [version, null]);
        }
        assert.isUndefined(held.pollUnsafe(), "the first job still runs");
        yield* open;
        assert.strictEqual((yield* Fiber.join(held)).json_result, "opened");
        // The process that was busy finds the packages too.
        const answers = yield* Effect.all([call(VERSION, "f"), call(VERSION, "f")], {
          concurrency: 2,
        });
        assert.deepStrictEqual(
          answers.map(({ json_result }) => json_result),
          ["1.0", "1.0"],
        );
      }).pipe(Effect.provide(realWorker({ ...settings, WORKER_CONCURRENCY: "2" })));
    }).pipe(Effect.scoped),
  );

  it.live("invalidates the import caches of each process once, at its next call", () =>
    Effect.gen(function* () {
      const { settings } = yield* scene;
      // Python calls every finder when caches of folders are invalidated.
      const watch = `import sys
class Finder:
    told = 0
    def find_spec(self, *_): return None
    def invalidate_caches(self): self.told += 1
def f(): sys.meta_path.append(Finder())`;
      const told = `import sys
def f(): return [finder.told for finder in sys.meta_path if type(finder).__name__ == "Finder"]`;
      yield* Effect.gen(function* () {
        yield* call(watch, "f");
        assert.deepStrictEqual((yield* call(told, "f")).json_result, [0]);
        const wanted = { dependencies: ["besides"] };
        assert.deepStrictEqual((yield* call(told, "f", [], wanted)).json_result, [1]);
        assert.deepStrictEqual((yield* call(told, "f", [], wanted)).json_result, [1]);
        assert.deepStrictEqual((yield* call(told, "f")).json_result, [1]);
      }).pipe(Effect.provide(realWorker(settings)));
    }).pipe(Effect.scoped),
  );

  it.live("finishes at the local endpoint before the other job", () =>
    Effect.gen(function* () {
      const { begun, gate, isHeld, open, settings } = yield* scene;
      const { port } = yield* serveInProcess(["--concurrency", "2"], settings);
      const held = yield* Effect.forkChild(
        ask(port, "/runsync", { body: { input: functionInput(HOLD, [begun, gate]) } }),
      );
      yield* isHeld;
      const answer = yield* ask(port, "/runsync", {
        body: { input: functionInput(VERSION, [], { dependencies: ["besides==1.0"] }) },
      }).pipe(Effect.timeout("60 seconds"));
      assert.deepNestedInclude(answer.json, { "output.json_result": "1.0" });
      assert.isUndefined(held.pollUnsafe(), "the first job still runs");
      yield* open;
      assert.deepNestedInclude((yield* Fiber.join(held)).json, { "output.json_result": "opened" });
    }).pipe(Effect.scoped),
  );
});
