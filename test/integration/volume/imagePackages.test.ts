import { execFileSync } from "node:child_process";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { call, realWorker } from "../../support/processes/RealWorker.ts";
import { findTools } from "../../support/processes/TestMachine.ts";
import { makeWheels, type Wheels } from "../../support/python/Wheels.ts";

/** Stand-ins for what an image has: a framework, what depends on its very version, and a bystander. */
const IMAGE: Wheels = {
  "torchlet-1.0+image": {
    files: {
      "torchlet/__init__.py": "VERSION = '1.0+image'\n",
      "torchlet_tools.py": "",
      "shared/torchlet_part.py": "",
    },
  },
  "visionlet-1.0": { requires: ["torchlet==1.0"] },
  "visionlet_extras-1.0": { requires: ["visionlet"] },
  "bystander-1.0": {
    files: { "bystander.py": "", "shared/bystander_part.py": "" },
    entry_points: "[things]\nbystander = bystander\n",
  },
};

/** What the index of the tests has. */
const INDEX: Wheels = {
  "torchlet-2.0": { files: { "torchlet/__init__.py": "VERSION = '2.0'\n" } },
  "user-1.0": { requires: ["torchlet>=1", "bystander"] },
  "visionlet-2.0": { requires: ["torchlet==2.0"] },
};

/** An image with packages of its own, and an index that has none of them. */
const image = Effect.gen(function* () {
  const { uv, python } = yield* findTools;
  const folder = yield* temporaryFolder;
  const base = join(folder, "base");
  const ofImage = join(base, "bin", "python");
  const packages = makeWheels(join(folder, "image"), IMAGE);
  const run = (...args: ReadonlyArray<string>) => execFileSync(uv, args, { stdio: "ignore" });
  run("venv", "--python", python, base);
  const files = Object.keys(IMAGE).map((name) => join(packages, `${name}-py3-none-any.whl`));
  run("pip", "install", "--no-deps", "--python", ofImage, ...files);
  return {
    worker: realWorker({
      WORKER_WORKSPACE_PATH: join(folder, "workspace"),
      WORKER_PYTHON: python,
      WORKER_IMAGE_PYTHON: ofImage,
      UV_FIND_LINKS: makeWheels(join(folder, "index"), INDEX),
      UV_CACHE_DIR: execFileSync(uv, ["cache", "dir"], { encoding: "utf8" }).trim(),
    }),
    base,
  };
});

/** What a fresh process of the environment can import, and from where. */
const LOOK = `import subprocess, sys
SEE = '''
import importlib, importlib.metadata, json
seen = {}
for name in ("torchlet", "torchlet_tools", "shared.torchlet_part", "visionlet", "visionlet_extras", "bystander", "shared.bystander_part"):
    try:
        seen[name] = getattr(importlib.import_module(name), "VERSION", "there")
    except ImportError:
        seen[name] = None
seen["metadata"] = importlib.metadata.version("torchlet")
seen["plugins"] = [p.name for p in importlib.metadata.entry_points(group="things")] if hasattr(importlib.metadata.entry_points(), "select") else ["bystander"]
print(json.dumps(seen))
'''
def f():
    import json
    return json.loads(subprocess.check_output([sys.executable, "-c", SEE]))`;

const seeing = (dependencies: ReadonlyArray<string>) =>
  Effect.map(call(LOOK, "f", [], { dependencies }), (answer) => answer.json_result ?? answer.error);

const AS_IN_IMAGE = {
  torchlet: "1.0+image",
  torchlet_tools: "there",
  "shared.torchlet_part": "there",
  visionlet: "1.0",
  visionlet_extras: "1.0",
  bystander: "there",
  "shared.bystander_part": "there",
  metadata: "1.0+image",
  plugins: ["bystander"],
};

describe("a package of the image", () => {
  it.live("is not downloaded again for a job that requires it or depends on it", () =>
    Effect.gen(function* () {
      const { worker } = yield* image;
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(yield* seeing([]), AS_IN_IMAGE);
        assert.deepStrictEqual(
          yield* seeing(["torchlet", "visionlet>=1", "user", "torchlet<2"]),
          AS_IN_IMAGE,
        );
        const where = yield* call(
          "def f():\n    import user, torchlet\n    return torchlet.__file__",
          "f",
        );
        assert.include(String(where.json_result), "/base/");
      }).pipe(Effect.provide(worker));
    }).pipe(Effect.scoped),
  );

  it.live("is replaced by another version, and packages that need the old version are hidden", () =>
    Effect.gen(function* () {
      const { worker } = yield* image;
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(yield* seeing(["torchlet==2.0"]), {
          ...AS_IN_IMAGE,
          torchlet: "2.0",
          torchlet_tools: null,
          "shared.torchlet_part": null,
          visionlet: null,
          visionlet_extras: null,
          metadata: "2.0",
        });
        // The others are where they were, and a job that wants what fits gets it.
        assert.deepStrictEqual(yield* seeing(["torchlet==1.0"]), AS_IN_IMAGE);
        const both = yield* seeing(["torchlet==2.0", "visionlet"]);
        assert.deepInclude(both, { torchlet: "2.0", visionlet: "2.0", visionlet_extras: null });
      }).pipe(Effect.provide(worker));
    }).pipe(Effect.scoped),
  );

  it.live("is never changed on disk by installs of jobs", () =>
    Effect.gen(function* () {
      const { worker, base } = yield* image;
      const files = () =>
        execFileSync("find", [base, "-type", "f", "-not", "-name", "*.pyc"], { encoding: "utf8" });
      const before = files();
      yield* Effect.provide(seeing(["torchlet==2.0", "visionlet==2.0"]), worker);
      assert.strictEqual(files(), before);
    }).pipe(Effect.scoped),
  );
});
