import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { makeWithSdk } from "../../src/dependencies/SdkPackage.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";

const SDK = "runpod>=2.0.0rc2";
const MODULE = "import os\nimport runpod\n\napp = runpod.App('a')\n";

/** The requirements of a module in a virtual environment with these packages. */
const required = Effect.fnUntraced(function* (
  module: string,
  requirements: ReadonlyArray<string>,
  installed: ReadonlyArray<string> = [],
) {
  const prefix = yield* temporaryFolder;
  for (const name of installed) {
    mkdirSync(join(prefix, "lib", "python3.12", "site-packages", name), { recursive: true });
  }
  const withSdk = yield* makeWithSdk;
  return yield* withSdk(module, requirements, { prefix, version: "3.12.1", generation: 1 });
}, Effect.provide(NodeServices.layer));

describe("makeWithSdk", () => {
  it.live.each([
    MODULE,
    "from runpod import App, GpuType",
    "import  runpod.apps as apps",
    "from runpod.apps import App",
    "try:\n    import runpod\nexcept ImportError:\n    runpod = None",
  ])("adds the SDK for a module with %j", (module) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* required(module, ["numpy"]), ["numpy", SDK]);
    }).pipe(Effect.scoped),
  );

  it.live.each([
    "import runpod_flash",
    "from runpods import App",
    "# import runpod",
    "x = 'runpod'",
  ])("adds nothing for a module with %j", (module) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* required(module, ["numpy"]), ["numpy"]);
    }).pipe(Effect.scoped),
  );

  it.live.each(["runpod==2.0.1", "RunPod", " runpod[cli]>=2"])(
    "keeps the version that a module requires itself: %s",
    (own) =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* required(MODULE, [own]), [own]);
      }).pipe(Effect.scoped),
  );

  it.live("adds the SDK beside a package whose name begins like it", () =>
    Effect.gen(function* () {
      const requirements = ["runpod-flash", "runpod.extras"];
      assert.deepStrictEqual(yield* required(MODULE, requirements), [...requirements, SDK]);
    }).pipe(Effect.scoped),
  );

  it.live.each([
    ["runpod-2.0.0rc2.dist-info", []],
    ["runpod-10.1.dist-info", []],
    ["runpod-1.12.0.dist-info", [SDK]],
    ["runpod_flash-2.0.dist-info", [SDK]],
  ] as const)("adds nothing if version 2 is installed: %s", ([installed, expected]) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* required(MODULE, [], [installed]), expected);
    }).pipe(Effect.scoped),
  );

  it.live("lists the packages of a workspace again only if packages were added", () =>
    Effect.gen(function* () {
      const prefix = yield* temporaryFolder;
      const record = join(prefix, "lib", "python3.12", "site-packages", "runpod-2.0.dist-info");
      mkdirSync(record, { recursive: true });
      const withSdk = yield* makeWithSdk;
      const inGeneration = (generation: number) =>
        withSdk(MODULE, [], { prefix, version: "3.12.1", generation });
      assert.deepStrictEqual(yield* inGeneration(1), []);
      rmSync(record, { recursive: true });
      assert.deepStrictEqual(yield* inGeneration(1), []);
      assert.deepStrictEqual(yield* inGeneration(2), [SDK]);
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );
});
