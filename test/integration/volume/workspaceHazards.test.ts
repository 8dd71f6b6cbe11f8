import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { findTools, importAll, testMachine } from "../../support/processes/TestMachine.ts";

const tools = await Effect.runPromise(findTools);

describe("workers on one volume", () => {
  it.live(
    "never build at the same time, even if a build takes longer than the timeout of others",
    () =>
      Effect.gen(function* () {
        const machine = yield* testMachine(tools);
        const builder = yield* machine.start({}, "gated");
        yield* builder.wrote("Building the virtual environment");
        const first = yield* machine.start({ WORKSPACE_INIT_TIMEOUT: "0.2" });
        const own = yield* first.ready;
        assert.notInclude(own.prefix, machine.workspace);
        assert.lengthOf(first.warnings(), 1);
        assert.strictEqual(importAll(own.python), own.prefix);
        // The timeout of the first one did not release the builder's lock.
        const another = yield* machine.start({ WORKSPACE_INIT_TIMEOUT: "0.2" });
        assert.notInclude((yield* another.ready).prefix, machine.workspace);
        yield* machine.open;
        const built = yield* builder.ready;
        assert.strictEqual(machine.published(), built.prefix);
        assert.lengthOf(machine.venvs(), 1);
        const later = yield* machine.start();
        assert.strictEqual((yield* later.ready).prefix, built.prefix);
      }).pipe(Effect.scoped),
  );

  it.live("rename a large broken virtual environment of another worker program", () =>
    Effect.gen(function* () {
      const machine = yield* testMachine(tools);
      const old = join(machine.workspace, ".venv");
      mkdirSync(join(old, "bin"), { recursive: true });
      symlinkSync("/nonexistent/python3", join(old, "bin", "python3"));
      for (let folder = 0; folder < 20; folder += 1) {
        const packages = join(old, "lib", `package${folder}`);
        mkdirSync(packages, { recursive: true });
        for (let file = 0; file < 1000; file += 1) writeFileSync(join(packages, `${file}.py`), "");
      }
      const workers = yield* Effect.all(Array.from({ length: 8 }, () => machine.start()));
      const all = yield* Effect.forEach(workers, ({ ready }) => ready, {
        concurrency: "unbounded",
      });
      assert.lengthOf([...new Set(all.map(({ prefix }) => prefix))], 1);
      assert.lengthOf(machine.calls("uv venv"), 1);
      assert.strictEqual(machine.published(), all[0]?.prefix);
      // The user may have made it by hand, so it is renamed, not deleted.
      const kept = readdirSync(machine.workspace).filter((name) =>
        name.startsWith(".venv.replaced-"),
      );
      assert.lengthOf(kept, 1);
      assert.lengthOf(readdirSync(join(machine.workspace, kept[0] ?? "", "lib")), 20);
    }).pipe(Effect.scoped),
  );
});
