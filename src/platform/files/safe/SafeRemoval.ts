/* oxlint-disable no-await-in-loop -- one folder after the other, so that few files are open */
import { randomUUID } from "node:crypto";
import { lstat, readdir, rename, rmdir, unlink } from "node:fs/promises";
import { basename } from "node:path";

import { codeOf } from "../../ErrorCode.ts";
import { type Folder, inParent, openIn, systemError } from "./SafePaths.ts";

/** Deeper folders are moved up before they are removed, so that a removal needs few open files. */
const MAX_DEPTH = 32;

/** Files that are removed concurrently. */
const REMOVALS_AT_ONCE = 32;

/** If other processes keep writing to a folder during its removal, the removal fails after this many passes. */
const MAX_PASSES = 5;

/** Deep folders need one more pass for each `MAX_DEPTH` levels. */
const MAX_DEEP_PASSES = 1000;

/** Error codes of concurrent changes during a removal. Another pass is needed. */
const CHANGED = new Set(["ENOENT", "ENOTDIR", "ELOOP", "EISDIR", "ENOTEMPTY", "EEXIST"]);

const unlessChanged = (error: unknown): void => {
  if (!CHANGED.has(codeOf(error))) throw error;
};

/** State of a removal, which stays on one file system and moves deep folders up to `top`. */
interface Removal {
  readonly top: Folder;
  readonly device: number;
  /** Whether folders were moved up in this pass. */
  hasMoved: boolean;
}

/** Removes the content of a folder, except entries that change during the removal. */
const empty = async (folder: Folder, removal: Removal, depth: number): Promise<void> => {
  const entries = await readdir(folder.path, { withFileTypes: true });
  const others = entries.filter((entry) => !entry.isDirectory());
  for (let start = 0; start < others.length; start += REMOVALS_AT_ONCE) {
    const some = others.slice(start, start + REMOVALS_AT_ONCE);
    await Promise.all(some.map(({ name }) => unlink(folder.at(name)).catch(unlessChanged)));
  }
  for (const { name } of entries.filter((entry) => entry.isDirectory())) {
    if (depth === MAX_DEPTH) {
      await rename(folder.at(name), removal.top.at(`.deep-${randomUUID()}`)).catch(unlessChanged);
      removal.hasMoved = true;
    } else {
      await removeFolder(folder, name, removal, depth + 1).catch(unlessChanged);
    }
  }
};

const assertOnDevice = async (folder: Folder, device: number, shown: string): Promise<void> => {
  if ((await folder.handle.stat()).dev !== device) {
    throw systemError("EXDEV", shown, "another file system is mounted there");
  }
};

const removeFolder = async (
  parent: Folder,
  name: string,
  removal: Removal,
  depth: number,
): Promise<void> => {
  const folder = await openIn(parent, name, parent.at(name));
  try {
    await assertOnDevice(folder, removal.device, name);
    await empty(folder, removal, depth);
  } finally {
    await folder.handle.close();
  }
  await rmdir(parent.at(name));
};

/** Removes a file, a link (not its target), or a folder with its content. Fails for content on another file system. */
export const removeAll = async (roots: ReadonlyArray<string>, path: string): Promise<void> =>
  inParent(roots, path, async (at, parent) => {
    const name = basename(path);
    if (!(await lstat(at)).isDirectory()) return unlink(at);
    const top = await openIn(parent, name, path);
    try {
      const removal = { top, device: (await parent.handle.stat()).dev, hasMoved: false };
      await assertOnDevice(top, removal.device, path);
      let unmoved = 0;
      for (let passes = 1; ; passes += 1) {
        removal.hasMoved = false;
        await empty(top, removal, 0);
        try {
          return await rmdir(at);
        } catch (error) {
          if (codeOf(error) !== "ENOTEMPTY" && codeOf(error) !== "EEXIST") throw error;
          if (!removal.hasMoved) unmoved += 1;
          if (unmoved === MAX_PASSES || passes === MAX_DEEP_PASSES) throw error;
        }
      }
    } finally {
      await top.handle.close();
    }
  });
