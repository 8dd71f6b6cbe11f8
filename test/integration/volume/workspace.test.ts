import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { killedBuilders, manyColdWorkers } from "../../faults/WorkspaceFaults.ts";
import { pythonLock } from "../../support/processes/PythonLock.ts";
import { findTools, importAll, testMachine } from "../../support/processes/TestMachine.ts";

const tools = await Effect.runPromise(findTools);

describe("workers on one volume", () => {
  it.live("share one virtual environment if they start together on an empty volume", () =>
    manyColdWorkers(tools, 8),
  );

  it.live("start on a prepared volume without running a program", () =>
    Effect.gen(function* () {
      const machine = yield* testMachine(tools);
      const { prefix } = yield* (yield* machine.start()).ready;
      const before = machine.calls("").length;
      const second = yield* machine.start();
      assert.strictEqual((yield* second.ready).prefix, prefix);
      assert.lengthOf(machine.calls(""), before);
      assert.isEmpty(second.warnings());
    }).pipe(Effect.scoped),
  );

  it.live.skipIf(tools.otherPython === undefined)(
    "keep separate virtual environments for two versions of Python",
    () =>
      Effect.gen(function* () {
        const machine = yield* testMachine(tools);
        const other = { WORKER_PYTHON: tools.otherPython ?? "" };
        const prefixes: Array<string> = [];
        for (const variables of [{}, other, {}, other]) {
          const worker = yield* machine.start(variables);
          const { prefix, python } = yield* worker.ready;
          assert.strictEqual(importAll(python), prefix);
          assert.strictEqual(machine.published(), prefix);
          prefixes.push(prefix);
          yield* worker.signal("SIGKILL");
          yield* worker.ended;
        }
        const [first, second, third, fourth] = prefixes;
        assert.notStrictEqual(first, second);
        assert.deepStrictEqual([third, fourth], [first, second]);
        assert.lengthOf(machine.calls("uv venv"), 2);
      }).pipe(Effect.scoped),
  );

  it.live("use the container's disk while a worker written in Python holds the lock", () =>
    Effect.gen(function* () {
      const machine = yield* testMachine(tools);
      const theirs = join(machine.workspace, ".venv", "bin", "python");
      mkdirSync(join(theirs, ".."), { recursive: true });
      writeFileSync(theirs, "theirs");
      assert.strictEqual((yield* pythonLock(machine.lock)).state, "held");
      const worker = yield* machine.start({ WORKSPACE_INIT_TIMEOUT: "0.5" });
      const { directory, python, prefix } = yield* worker.ready;
      assert.notInclude(directory, machine.workspace);
      assert.strictEqual(importAll(python), prefix);
      const [warning = ""] = worker.warnings();
      assert.lengthOf(worker.warnings(), 1);
      assert.include(warning, `${machine.lock} has been locked by another worker`);
      assert.include(warning, "more than 0.5 seconds (holder: a Python worker)");
      assert.strictEqual(readFileSync(theirs, "utf8"), "theirs");
      assert.isFalse(existsSync(join(machine.workspace, ".venvs")));
    }).pipe(Effect.scoped),
  );

  it.live("find a complete virtual environment after a builder was killed at any time", () =>
    killedBuilders(tools, 3),
  );

  it.live(
    "use the container's disk while the builder is suspended, and the volume once it has finished",
    () =>
      Effect.gen(function* () {
        const machine = yield* testMachine(tools);
        const builder = yield* machine.start({}, "gated");
        yield* builder.wrote("Building the virtual environment");
        yield* builder.signal("SIGSTOP");
        const others = yield* Effect.all([
          machine.start({ WORKSPACE_INIT_TIMEOUT: "0.5" }),
          machine.start({ WORKSPACE_INIT_TIMEOUT: "0" }),
        ]);
        for (const other of others) {
          const { directory, python, prefix } = yield* other.ready;
          assert.notInclude(directory, machine.workspace);
          assert.strictEqual(importAll(python), prefix);
          assert.lengthOf(other.warnings(), 1);
          assert.include(other.warnings()[0], `(holder: pid ${builder.pid} on `);
        }
        yield* builder.signal("SIGCONT");
        yield* machine.open;
        const { prefix } = yield* builder.ready;
        assert.strictEqual(machine.published(), prefix);
        const next = yield* machine.start();
        assert.strictEqual((yield* next.ready).prefix, prefix);
        for (const other of others) {
          const own = yield* other.ready;
          assert.strictEqual(importAll(own.python), own.prefix);
        }
      }).pipe(Effect.scoped),
  );
});
