import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Path } from "effect";

import { venvRecords } from "../../src/venv/Venv.ts";
import { prepared } from "../support/fakes/FakeRunner.ts";
import { type Fault, faultyFileSystem } from "../support/files/FaultyFileSystem.ts";
import { memoryFileSystem } from "../support/files/MemoryFileSystem.ts";

const { venv } = prepared;

describe("the records of a virtual environment", () => {
  it.effect.each<readonly [string, Fault["method"]]>([
    ["an install begins", "writeFile"],
    ["an install ends", "rename"],
    ["an install ends", "remove"],
  ])("fail with the reason on a read-only disk when %s: %s", ([step, method]) =>
    Effect.gen(function* () {
      const { beginInstall, endInstall } = yield* venvRecords;
      const install = step === "an install begins" ? beginInstall(venv) : endInstall(venv, ["one"]);
      const error = yield* Effect.flip(install);
      assert.strictEqual(
        error.message,
        `${venv.prefix} can't be written: it is mounted read-only (EROFS). Mount it writable.`,
      );
    }).pipe(
      Effect.provide(
        Layer.merge(
          faultyFileSystem(memoryFileSystem({ [venv.prefix]: null }).files, [
            { method, code: "EROFS" },
          ]).layer,
          Path.layer,
        ),
      ),
    ),
  );

  it.effect.each<readonly [string, Fault["method"], string, boolean]>([
    ["has no configuration", "readFile", "ENOENT", false],
    ["can't be read for a moment", "readFile", "ESTALE", true],
    ["has a file in place of its folder", "stat", "ENOTDIR", false],
    ["has no interpreter", "stat", "ENOENT", false],
    ["has an interpreter that can't be read for a moment", "stat", "EIO", true],
  ])("show whether one may still be usable that %s", ([, method, code, expected]) =>
    Effect.gen(function* () {
      const { mayBeUsable, isUsable } = yield* venvRecords;
      assert.isFalse(yield* isUsable(venv));
      assert.strictEqual(yield* mayBeUsable(venv), expected);
    }).pipe(
      Effect.provide(
        faultyFileSystem(
          memoryFileSystem({
            [venv.python]: "",
            [`${venv.prefix}/.worker-tetra-complete`]: "[]",
            [`${venv.prefix}/pyvenv.cfg`]: `version = ${venv.version}`,
          }).files,
          [{ method, code, path: method === "stat" ? /python/ : /pyvenv/ }],
        ).layer,
      ),
    ),
  );
});
