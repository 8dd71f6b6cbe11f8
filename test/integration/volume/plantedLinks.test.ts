import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { eventually } from "../../support/effects/Waiting.ts";
import { findTools, importAll, testMachine } from "../../support/processes/TestMachine.ts";

const tools = await Effect.runPromise(findTools);

/** A machine with a folder outside of its volume, which must not change. */
const machineWithOutside = Effect.gen(function* () {
  const machine = yield* testMachine(tools);
  const outside = join(machine.folder, "outside");
  mkdirSync(join(outside, ".building-x"), { recursive: true });
  writeFileSync(join(outside, "file"), "precious");
  writeFileSync(join(outside, ".building-x", "file"), "precious");
  const assertUntouched = () => {
    assert.deepStrictEqual(readdirSync(outside, { recursive: true }).toSorted(), [
      ".building-x",
      ".building-x/file",
      "file",
    ]);
    assert.strictEqual(readFileSync(join(outside, "file"), "utf8"), "precious");
  };
  return { machine, outside, assertUntouched };
});

describe("a worker on a volume with links that another endpoint created", () => {
  it.live.each([
    ["the endpoint's folder", "."],
    ["the folder of virtual environments", ".venvs"],
    ["the lock", ".initialization.lock"],
  ] as const)("falls back to the container's disk when %s is a link", ([, name]) =>
    Effect.gen(function* () {
      const { machine, outside, assertUntouched } = yield* machineWithOutside;
      const place = join(machine.workspace, name);
      mkdirSync(join(place, ".."), { recursive: true });
      symlinkSync(name === ".initialization.lock" ? join(outside, "file") : outside, place);
      const worker = yield* machine.start();
      const { prefix, python } = yield* worker.ready;
      assert.notInclude(prefix, machine.workspace);
      assert.strictEqual(importAll(python), prefix);
      assert.include(worker.warnings().join("\n"), "symbolic link");
      assertUntouched();
    }).pipe(Effect.scoped),
  );

  it.live(
    "replaces links, pipes and hard links that have the names of its files without reading them",
    () =>
      Effect.gen(function* () {
        const { machine, outside, assertUntouched } = yield* machineWithOutside;
        const { prefix } = yield* (yield* machine.start()).ready;
        const lastStart = join(machine.workspace, ".last-start.json");
        rmSync(lastStart, { force: true });
        symlinkSync(join(outside, "file"), lastStart);
        symlinkSync(outside, join(machine.workspace, ".venvs", ".removing-x"));
        symlinkSync(outside, join(machine.workspace, ".venvs", ".building-x"));
        linkSync(join(outside, "file"), join(prefix, ".worker-tetra-installing"));
        // A venv without a valid pyvenv.cfg is not used, and reading the pipe does not block.
        rmSync(join(prefix, "pyvenv.cfg"));
        execFileSync("mkfifo", [join(prefix, "pyvenv.cfg")]);
        const later = yield* (yield* machine.start()).ready;
        assert.notStrictEqual(later.prefix, prefix);
        assert.include(later.prefix, machine.workspace);
        assert.isFalse(existsSync(join(machine.workspace, ".venvs", ".building-x")));
        yield* eventually(() => lstatSync(lastStart).isFile());
        assertUntouched();
      }).pipe(Effect.scoped),
  );
});
