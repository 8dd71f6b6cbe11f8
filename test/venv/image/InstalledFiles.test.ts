import { assert, describe, it } from "@effect/vitest";

import { addFile, filesInRecord, type FileTree } from "../../../src/venv/image/InstalledFiles.ts";

describe("filesInRecord", () => {
  it("returns the first column, without quotes", () => {
    const record = 'torch/a.py,sha256=x,1\r\n"torch/a,""b"".py",,\ntorch/c.py,,\n';
    assert.deepStrictEqual(filesInRecord(record), ["torch/a.py", 'torch/a,"b".py', "torch/c.py"]);
  });

  it("leaves out files outside of site-packages", () => {
    const record = "../../../bin/torchrun,,\n/etc/passwd,,\n,,\ntorch/a.py,,\n";
    assert.deepStrictEqual(filesInRecord(record), ["torch/a.py"]);
  });
});

describe("addFile", () => {
  it("adds the parts of a path that the tree does not have", () => {
    const tree: FileTree = new Map();
    addFile(tree, "torch/lib/a.so");
    addFile(tree, "torch/lib/b.so");
    addFile(tree, "six.py");
    assert.deepStrictEqual([...tree.keys()], ["torch", "six.py"]);
    const lib = tree.get("torch")?.get("lib");
    assert.deepStrictEqual([...(lib?.keys() ?? [])], ["a.so", "b.so"]);
    assert.strictEqual(lib?.get("a.so")?.size, 0);
  });
});
