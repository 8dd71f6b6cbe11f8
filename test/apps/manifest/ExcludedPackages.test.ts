import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer } from "effect";

import { missingPackages } from "../../../src/apps/manifest/ExcludedPackages.ts";
import { Programs } from "../../../src/platform/Programs.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { fakePrograms } from "../../support/fakes/FakePrograms.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";

const realPrograms = Programs.layer.pipe(
  Layer.provide(Environment.layerOf({ PATH: process.env["PATH"] })),
);

/** A Python without packages but one, which is installed as `Demo_Package`. */
const pythonWithPackage = Effect.gen(function* () {
  const folder = yield* temporaryFolder;
  const programs = yield* Programs;
  yield* programs.run("python3", ["-m", "venv", "--without-pip", folder]);
  const python = join(folder, "bin/python");
  const site = yield* programs.run(python, [
    "-c",
    "import site; print(site.getsitepackages()[0], end='')",
  ]);
  const metadata = join(site, "Demo_Package-1.0.dist-info");
  mkdirSync(metadata);
  writeFileSync(
    join(metadata, "METADATA"),
    "Metadata-Version: 2.1\nName: Demo_Package\nVersion: 1.0\n",
  );
  return python;
});

describe("packages that the client left out of an app", () => {
  it.live("are those that the interpreter does not have, by any spelling of their names", () =>
    Effect.gen(function* () {
      const python = yield* pythonWithPackage;
      const missing = yield* missingPackages(python, ["torch", "demo-package", "--help"]);
      assert.deepStrictEqual(missing, ["torch", "--help"]);
    }).pipe(Effect.provide(realPrograms)),
  );

  it.effect("are not searched if there are none", () => {
    const programs = fakePrograms(() => undefined);
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* missingPackages("python3", []), []);
      assert.deepStrictEqual(programs.lines, []);
    }).pipe(Effect.provide(programs.layer));
  });

  it.effect("can't be told if the interpreter does not run", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(missingPackages("python3", ["torch"]));
      assert.strictEqual(error._tag, "ProgramFailed");
    }).pipe(Effect.provide(fakePrograms(() => undefined).layer)),
  );
});
