import { readdirSync } from "node:fs";

import { assert, describe, it } from "@effect/vitest";

import { LAYERS } from "./Layers.ts";
import { cycleIn, readStructure, upwardImports } from "./Structure.ts";

describe("the folders of src", () => {
  const { imports } = readStructure();

  it("are all in the list of layers, except the Python package", () => {
    const folders = readdirSync("src", { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name !== "python")
      .map(({ name }) => name);
    assert.sameMembers(folders, [...LAYERS]);
  });

  it("import only from lower folders", () => {
    assert.isAbove(imports.length, 0);
    assert.deepStrictEqual(upwardImports(imports), []);
  });

  it("have no import cycle", () => {
    assert.deepStrictEqual(cycleIn(imports), []);
  });
});

describe("upwardImports", () => {
  it("finds an import of the runner in the queue", () => {
    const upward = { from: "queue/QueueWorker.ts", to: "runner/RunnerPool.ts" };
    const downward = { from: "cli/modes/QueueMode.ts", to: "queue/QueueWorker.ts" };
    assert.deepStrictEqual(upwardImports([downward, upward]), [upward]);
  });
});

describe("cycleIn", () => {
  it("finds a cycle that does not start at the first file", () => {
    const imports = [
      { from: "a.ts", to: "b.ts" },
      { from: "b.ts", to: "c.ts" },
      { from: "c.ts", to: "b.ts" },
    ];
    assert.deepStrictEqual(cycleIn(imports), ["b.ts", "c.ts"]);
  });
});
