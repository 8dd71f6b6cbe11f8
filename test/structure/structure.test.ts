import { readdirSync } from "node:fs";

import { assert, describe, it } from "@effect/vitest";

import { LAYERS } from "./Layers.ts";
import { circleIn, readStructure, upwardImports } from "./Structure.ts";

describe("the folders of src", () => {
  const { imports } = readStructure();

  it("are all in the list of layers, except the Python package", () => {
    const folders = readdirSync("src", { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name !== "python")
      .map(({ name }) => name);
    assert.sameMembers(folders, [...LAYERS]);
  });

  it("import only from folders further down", () => {
    assert.isAbove(imports.length, 0);
    assert.deepStrictEqual(upwardImports(imports), []);
  });

  it("have no circle of imports", () => {
    assert.deepStrictEqual(circleIn(imports), []);
  });
});

describe("upwardImports", () => {
  it("finds an import from the queue of something that knows of Python", () => {
    const upward = { from: "queue/QueueWorker.ts", to: "runner/RunnerPool.ts" };
    const downward = { from: "cli/modes/QueueMode.ts", to: "queue/QueueWorker.ts" };
    assert.deepStrictEqual(upwardImports([downward, upward]), [upward]);
  });
});

describe("circleIn", () => {
  it("finds a circle that does not begin at the first file", () => {
    const imports = [
      { from: "a.ts", to: "b.ts" },
      { from: "b.ts", to: "c.ts" },
      { from: "c.ts", to: "b.ts" },
    ];
    assert.deepStrictEqual(circleIn(imports), ["b.ts", "c.ts"]);
  });
});
