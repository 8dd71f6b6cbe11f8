import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";

import { inParent } from "../../src/workspace/SafePaths.ts";

/** Folders of a volume, and one outside of it with a file that nobody may touch. */
const setUp = () => {
  const root = mkdtempSync(join(tmpdir(), "worker-tetra-swap-"));
  const volume = join(root, "volume");
  const folder = join(volume, "endpoint");
  const outside = join(root, "outside");
  for (const one of [folder, outside]) {
    mkdirSync(one, { recursive: true });
    writeFileSync(join(one, "file"), "precious");
  }
  return {
    root,
    volume,
    folder,
    outside,
    /** What another endpoint does once the worker has looked at the folder. */
    swap: () => {
      renameSync(folder, `${folder}-moved`);
      symlinkSync(outside, folder);
    },
  };
};

describe.skipIf(process.platform !== "linux")(
  "a folder that turns into a link after it was opened",
  () => {
    it("has its own file removed, and not that of the folder that the link leads to", async () => {
      const { root, volume, folder, outside, swap } = setUp();
      try {
        await inParent([volume], join(folder, "file"), async (at) => {
          swap();
          await unlink(at);
        });
        assert.strictEqual(readFileSync(join(outside, "file"), "utf8"), "precious");
        assert.isFalse(existsSync(join(`${folder}-moved`, "file")));
      } finally {
        rmSync(root, { recursive: true });
      }
    });

    it("gets a new file itself", async () => {
      const { root, volume, folder, outside, swap } = setUp();
      try {
        await inParent([volume], join(folder, "new"), async (at) => {
          swap();
          await writeFile(at, "text", { flag: "wx" });
        });
        assert.isFalse(existsSync(join(outside, "new")));
        assert.strictEqual(readFileSync(join(`${folder}-moved`, "new"), "utf8"), "text");
      } finally {
        rmSync(root, { recursive: true });
      }
    });
  },
);
