import { readFileSync } from "node:fs";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { killedInstalls } from "../../faults/KilledInstalls.ts";
import { findTools, testMachine } from "../../support/processes/TestMachine.ts";

const tools = await Effect.runPromise(findTools);

const SIX = { CODE: "import six; print(six.__version__)" } as const;

const lists = (...all: ReadonlyArray<string>) => ({
  ...SIX,
  PACKAGES: JSON.stringify(all.map((one) => [one])),
});

describe("packages of workers on one volume", () => {
  it.live("with conflicting versions are kept in separate venvs and installed once each", () =>
    Effect.gen(function* () {
      const machine = yield* testMachine(tools);
      const versions = ["1.15.0", "1.16.0", "1.15.0", "1.16.0", "1.15.0"];
      const turns = (order: ReadonlyArray<string>) =>
        machine.start(lists(...order.map((version) => `six==${version}`)));
      const one = yield* turns(versions);
      const other = yield* turns(versions.toReversed());
      assert.deepStrictEqual((yield* one.ready).outputs, versions);
      assert.deepStrictEqual((yield* other.ready).outputs, versions.toReversed());
      const installs = () =>
        machine.calls("uv pip install").filter((line) => !line.includes("--dry-run")).length;
      const before = installs();
      const third = yield* turns(versions);
      assert.deepStrictEqual((yield* third.ready).outputs, versions);
      assert.strictEqual(installs(), before);
      assert.isAtMost(machine.venvs().length, 3);
    }).pipe(Effect.scoped),
  );

  it.live("are installed once when several workers need them at the same time", () =>
    Effect.gen(function* () {
      const machine = yield* testMachine(tools);
      const workers = yield* Effect.all(
        Array.from({ length: 4 }, () => machine.start(lists("six==1.16.0"))),
      );
      const all = yield* Effect.forEach(workers, ({ ready }) => ready, {
        concurrency: "unbounded",
      });
      assert.deepStrictEqual(
        all.map(({ outputs }) => outputs),
        all.map(() => ["1.16.0"]),
      );
      const installs = machine
        .calls("uv pip install")
        .filter((line) => line.includes("six") && !line.includes("--dry-run"));
      assert.lengthOf(installs, 1);
      assert.lengthOf(machine.venvs(), 1);
    }).pipe(Effect.scoped),
  );

  it.live("are installed into a new venv if a worker was killed and its uv is still running", () =>
    Effect.gen(function* () {
      const machine = yield* testMachine(tools);
      const worker = yield* machine.start(lists("six==1.16.0"), "gatedInstall");
      yield* worker.wrote("Installing six");
      yield* machine.called("uv pip install --python", "six==1.16.0");
      assert.include(readFileSync(machine.installLock, "utf8"), `pid ${worker.pid} `);
      const abandoned = machine.published();
      yield* worker.signal("SIGKILL");
      yield* worker.ended;
      const next = yield* machine.start(lists("six==1.16.0"));
      const { outputs, prefix } = yield* next.ready;
      assert.deepStrictEqual(outputs, ["1.16.0"]);
      assert.notStrictEqual(prefix, abandoned);
      yield* machine.open;
      assert.strictEqual(machine.published(), prefix);
    }).pipe(Effect.scoped),
  );

  it.live("are complete after each of 2 killed installs", () => killedInstalls(tools, 2), 120_000);
});
