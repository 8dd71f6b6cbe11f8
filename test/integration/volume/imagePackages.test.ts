import { execFileSync } from "node:child_process";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { call, realWorker } from "../../support/processes/RealWorker.ts";
import { findTools } from "../../support/processes/TestMachine.ts";
import { makeWheels, type Wheels } from "../../support/python/Wheels.ts";

/** Packages of the image: a framework, dependents of its exact version, and an unrelated package. */
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
  "unrelated-1.0": {
    files: { "unrelated.py": "", "shared/unrelated_part.py": "" },
    entry_points: "[things]\nunrelated = unrelated\n",
  },
};

/** Packages of the index. */
const INDEX: Wheels = {
  "torchlet-2.0": { files: { "torchlet/__init__.py": "VERSION = '2.0'\n" } },
  "user-1.0": { requires: ["torchlet>=1", "unrelated"] },
  "visionlet-2.0": { requires: ["torchlet==2.0"] },
};

/** An image with packages, and an index without these versions. */
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

/** Returns what a new process of the venv can import, and the versions. */
const LOOK = `import subprocess, sys
SEE = '''
import importlib, importlib.metadata, json
seen = {}
for name in ("torchlet", "torchlet_tools", "shared.torchlet_part", "visionlet", "visionlet_extras", "unrelated", "shared.unrelated_part"):
    try:
        seen[name] = getattr(importlib.import_module(name), "VERSION", "there")
    except ImportError:
        seen[name] = None
seen["metadata"] = importlib.metadata.version("torchlet")
seen["plugins"] = [p.name for p in importlib.metadata.entry_points(group="things")] if hasattr(importlib.metadata.entry_points(), "select") else ["unrelated"]
print(json.dumps(seen))
'''
def f():
    import json
    return json.loads(subprocess.check_output([sys.executable, "-c", SEE]))`;

const importsWith = (dependencies: ReadonlyArray<string>) =>
  Effect.map(
    call(LOOK, "f", [], { dependencies }),
    ({ json_result, error }) => json_result ?? error,
  );

const AS_IN_IMAGE = {
  torchlet: "1.0+image",
  torchlet_tools: "there",
  "shared.torchlet_part": "there",
  visionlet: "1.0",
  visionlet_extras: "1.0",
  unrelated: "there",
  "shared.unrelated_part": "there",
  metadata: "1.0+image",
  plugins: ["unrelated"],
};

describe("a package of the image", () => {
  it.live("is not downloaded for a job that requires it or one of its dependents", () =>
    Effect.gen(function* () {
      const { worker } = yield* image;
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(yield* importsWith([]), AS_IN_IMAGE);
        assert.deepStrictEqual(
          yield* importsWith(["torchlet", "visionlet>=1", "user", "torchlet<2"]),
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

  it.live("is replaced by a required version, and its dependents are hidden", () =>
    Effect.gen(function* () {
      const { worker } = yield* image;
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(yield* importsWith(["torchlet==2.0"]), {
          ...AS_IN_IMAGE,
          torchlet: "2.0",
          torchlet_tools: null,
          "shared.torchlet_part": null,
          visionlet: null,
          visionlet_extras: null,
          metadata: "2.0",
        });
        // The image's version is still available, and a matching dependent can be installed.
        assert.deepStrictEqual(yield* importsWith(["torchlet==1.0"]), AS_IN_IMAGE);
        const both = yield* importsWith(["torchlet==2.0", "visionlet"]);
        assert.deepInclude(both, { torchlet: "2.0", visionlet: "2.0", visionlet_extras: null });
      }).pipe(Effect.provide(worker));
    }).pipe(Effect.scoped),
  );

  it.live("is never changed on disk by installs", () =>
    Effect.gen(function* () {
      const { worker, base } = yield* image;
      const files = () =>
        execFileSync("find", [base, "-type", "f", "-not", "-name", "*.pyc"], { encoding: "utf8" });
      const before = files();
      yield* Effect.provide(importsWith(["torchlet==2.0", "visionlet==2.0"]), worker);
      assert.strictEqual(files(), before);
    }).pipe(Effect.scoped),
  );
});
