import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { ProgramFailed } from "../../../src/platform/programs/Programs.ts";
import { Uv } from "../../../src/venv/Uv.ts";
import { registerImagePackages } from "../../../src/venv/image/ImagePackages.ts";
import { hideReplaced } from "../../../src/venv/image/ReplacedPackages.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

const IMAGE = "/image/site-packages";
const OWN = "/venv/lib/site-packages";
const PATH_FILE = `${OWN}/worker_tetra_image.pth`;

const built = { prefix: "/venv", sitePackages: OWN, python: "/venv/bin/python", folders: [IMAGE] };

/** An image with torch, torchvision, which requires exactly this version of torch, and six. */
const setUp = Effect.gen(function* () {
  const memory = memoryFileSystem({
    [OWN]: null,
    [`${IMAGE}/torch/a.py`]: "",
    [`${IMAGE}/torch-2.9.dist-info/METADATA`]: "Name: torch",
    [`${IMAGE}/torch-2.9.dist-info/RECORD`]: "torch/a.py,,\ntorch-2.9.dist-info/METADATA,,\n",
    [`${IMAGE}/torch/plugins/other.py`]: "",
    [`${IMAGE}/torchvision/b.py`]: "",
    [`${IMAGE}/torchvision-0.24.dist-info/RECORD`]: "torchvision/b.py,,\n",
    [`${IMAGE}/six.py`]: "",
    [`${IMAGE}/six-1.17.dist-info/RECORD`]: "six.py,,\n",
    [`${IMAGE}/mine-1.dist-info/direct_url.json`]: '{"dir_info": {"editable": true}}',
  });
  yield* registerImagePackages(memory.files, OWN, [IMAGE]);
  const checks: Array<string> = [];
  const uv = Uv.of({
    command: Effect.succeed("uv"),
    run: (args) => {
      checks.push(args.join(" "));
      const output = "The package `torchvision` requires `torch==2.9`, but `2.8` is installed\n";
      return Effect.fail(new ProgramFailed({ command: "uv", args, exitCode: 1, output }));
    },
  });
  return { memory, checks, hide: hideReplaced(memory.files, uv, built, { environment: {} }) };
});

describe("hideReplaced", () => {
  it.effect("changes nothing if no package was replaced", () =>
    Effect.gen(function* () {
      const { memory, checks, hide } = yield* setUp;
      const before = memory.show();
      yield* hide;
      assert.deepStrictEqual(memory.show(), before);
      assert.strictEqual(before[PATH_FILE], `${IMAGE}\n`);
      assert.property(before, `${OWN}/torch-2.9.dist-info/METADATA`);
      assert.notProperty(before, `${OWN}/mine-1.dist-info/RECORD`);
      assert.isEmpty(checks);
    }),
  );

  it.effect("hides a replaced package and its dependents, and links all others", () =>
    Effect.gen(function* () {
      const { memory, checks, hide } = yield* setUp;
      // uv does this when it installs another version of torch.
      memory.uproot(`${OWN}/torch-2.9.dist-info`);
      yield* hide;
      const shown = memory.show();
      const links = "/venv/image-packages/0";
      assert.strictEqual(shown[PATH_FILE], "../../image-packages/0\n");
      assert.deepStrictEqual(shown[`${links}/six.py`], { link: `${IMAGE}/six.py` });
      assert.deepStrictEqual(shown[`${links}/torch/plugins`], { link: `${IMAGE}/torch/plugins` });
      assert.notProperty(shown, `${links}/torch/a.py`);
      assert.notProperty(shown, `${links}/torchvision`);
      assert.notProperty(shown, `${OWN}/torchvision-0.24.dist-info/RECORD`);
      assert.property(shown, `${OWN}/six-1.17.dist-info/RECORD`);
      // The second check finds no more registered packages.
      assert.lengthOf(checks, 2);
    }),
  );
});
