import { mkdirSync, statSync, writeFileSync } from "node:fs";

import { assert } from "@effect/vitest";
import { Effect, Option, Random } from "effect";

import { importAll, testMachine, type findTools } from "../support/processes/TestMachine.ts";

type Tools = Effect.Success<typeof findTools>;

/** Many workers start at the same time on an empty volume: one of them builds the venv, and all use it. */
export const manyColdWorkers = (tools: Tools, count: number) =>
  Effect.gen(function* () {
    const machine = yield* testMachine(tools);
    mkdirSync(machine.workspace, { recursive: true });
    writeFileSync(machine.lock, "");
    const { ino } = statSync(machine.lock);
    const workers = yield* Effect.all(Array.from({ length: count }, () => machine.start()));
    const all = yield* Effect.forEach(workers, ({ ready }) => ready, { concurrency: "unbounded" });
    assert.lengthOf(machine.calls("uv venv"), 1);
    assert.lengthOf([...new Set(all.map(({ prefix }) => prefix))], 1);
    assert.lengthOf(machine.venvs(), 1);
    assert.deepStrictEqual(
      workers.flatMap(({ warnings }) => warnings()),
      [],
    );
    assert.strictEqual(statSync(machine.lock).ino, ino);
    const { python, prefix } = all[0] ?? assert.fail("nobody is ready");
    assert.strictEqual(importAll(python), prefix);
    assert.strictEqual(machine.published(), prefix);
  }).pipe(Effect.scoped);

/** Workers are killed at random times of a build: the next worker always has a complete venv. */
export const killedBuilders = (tools: Tools, count: number) =>
  Effect.gen(function* () {
    let hits = 0;
    for (let kills = 0; kills < count; kills += 1) {
      yield* Effect.gen(function* () {
        const machine = yield* testMachine(tools);
        const builder = yield* machine.start();
        yield* builder.wrote("Building the virtual environment");
        // The first kill always hits a build.
        const delay = kills === 0 ? 0 : yield* Random.nextIntBetween(0, 1500);
        const built = yield* Effect.timeoutOption(builder.ready, { milliseconds: delay });
        if (Option.isNone(built)) hits += 1;
        yield* builder.signal("SIGKILL");
        yield* builder.ended;
        const next = yield* machine.start();
        const { python, prefix, directory } = yield* next.ready;
        assert.strictEqual(directory, machine.workspace);
        assert.strictEqual(importAll(python), prefix);
        assert.strictEqual(machine.published(), prefix);
        assert.deepStrictEqual(next.warnings(), []);
      }).pipe(Effect.scoped);
    }
    assert.isAbove(hits, 0, "no kill hit a build");
  });
