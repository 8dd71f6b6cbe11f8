import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, it } from "@effect/vitest";

import { installArchive } from "../../../src/apps/artifact/AppFolder.ts";
import { openArchive } from "../../../src/apps/artifact/Unpack.ts";
import { listing } from "../../support/files/Listing.ts";
import { tarGzOf } from "../../support/files/Tar.ts";
import { makeTemporaryFolder, removeFolder } from "../../support/files/TemporaryFolder.ts";

it("removes the bytecode of an earlier app, whose modules can have the same times", async () => {
  const root = makeTemporaryFolder();
  const app = join(root, "app");
  const install = async (files: Readonly<Record<string, string>>) => {
    const path = join(root, "archive");
    writeFileSync(path, tarGzOf(files));
    const archive = await openArchive(path);
    const limits = { maxBytes: 1_000_000, maxMembers: 100 };
    await installArchive(app, archive, limits, new AbortController().signal);
    await archive.handle.close();
  };
  try {
    mkdirSync(app);
    await install({ "main.py": "1", "package/part.py": "1" });
    for (const folder of [app, join(app, "package")]) {
      mkdirSync(join(folder, "__pycache__"));
      writeFileSync(join(folder, "__pycache__", "old.pyc"), "");
    }
    await install({ "main.py": "2", "package/part.py": "2" });
    assert.deepStrictEqual(
      Object.keys(listing(app)).filter((path) => !path.startsWith(".")),
      ["main.py", "package", "package/part.py"],
    );
  } finally {
    removeFolder(root);
  }
});
