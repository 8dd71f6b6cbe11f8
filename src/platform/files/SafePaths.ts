/* oxlint-disable no-await-in-loop -- a path is walked one folder after the other */
import { randomUUID } from "node:crypto";
import { constants, existsSync } from "node:fs";
import {
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rmdir,
  unlink,
} from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";

import { codeOf } from "../ErrorCode.ts";

/**
 * Jobs and other endpoints can write to most folders that the worker uses, so any folder in a path may be replaced
 * by a link at any moment. Node has no openat(2). On Linux `/proc/self/fd/N/name` does the same: it refers to the
 * name in the folder that was opened as N, even if that folder was moved or replaced.
 * Every path is therefore walked from its root, one component after the other, none of which may be a link.
 */
const HAS_DESCRIPTOR_PATHS = process.platform === "linux" && existsSync("/proc/self/fd");

/** Opens a folder only to walk through it, which costs no message to the server of a network volume. */
const O_PATH = process.platform === "linux" ? 0o10000000 : constants.O_RDONLY;

/** Deeper folders are moved up before they are removed, so that a removal needs few open files. */
const MAX_DEPTH = 32;

/** The number of files that are removed concurrently. */
const REMOVALS_AT_ONCE = 32;

/** Another process may write to a folder while it is removed; after this many passes the removal fails. */
const MAX_PASSES = 5;

/** Folders that are too deep take one more pass for each `MAX_DEPTH` levels. */
const MAX_DEEP_PASSES = 1000;

/** An error in the form of Node's system errors. */
const systemError = (code: string, path: string, reason: string): Error =>
  Object.assign(new Error(`${code}: ${reason}, '${path}'`), { code, path });

/** A folder that was opened. */
interface Folder {
  /** The path of an entry; it stays in this folder even if the folder's own path changes. */
  readonly at: (name: string) => string;
  /** The folder itself. */
  readonly path: string;
  readonly handle: FileHandle;
}

const folderOf = (handle: FileHandle, path: string): Folder => {
  const own = HAS_DESCRIPTOR_PATHS ? `/proc/self/fd/${handle.fd}` : path;
  return { handle, path: own, at: (name) => join(own, name) };
};

const openRoot = async (root: string): Promise<Folder> =>
  folderOf(await open(root, O_PATH | constants.O_DIRECTORY), root);

/** Opens a folder in another one; `shown` is its path for errors. */
const openIn = async (folder: Folder, name: string, shown: string): Promise<Folder> => {
  const path = folder.at(name);
  try {
    const flags = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
    return folderOf(await open(path, flags), path);
  } catch (error) {
    // The system reports a link as something that is not a folder.
    if (!(await lstat(path)).isSymbolicLink()) throw error;
    throw systemError("ELOOP", shown, "symbolic links are not followed");
  }
};

/** The outermost of the roots that a path is below. */
const rootOf = (roots: ReadonlyArray<string>, path: string): string | undefined =>
  roots
    .map((root) => resolve(root))
    .filter((root) => path !== root && path.startsWith(root === sep ? sep : root + sep))
    .toSorted((a, b) => a.length - b.length)[0];

/** Walks from a root to a folder below it, and runs `use` there. */
const below = async <A>(
  root: string,
  path: string,
  prepare: (at: string) => Promise<void>,
  use: (folder: Folder) => Promise<A>,
): Promise<A> => {
  let folder = await openRoot(root);
  try {
    let shown = root;
    for (const name of relative(root, path)
      .split(sep)
      .filter((part) => part !== "")) {
      shown = join(shown, name);
      await prepare(folder.at(name));
      const next = await openIn(folder, name, shown);
      await folder.handle.close();
      folder = next;
    }
    return await use(folder);
  } finally {
    await folder.handle.close();
  }
};

/** Whether a path is below one of the roots. */
export const isBelow = (roots: ReadonlyArray<string>, path: string): boolean =>
  rootOf(roots, resolve(path)) !== undefined;

/** Runs an action in the folder of a path; links in a path that is below no root are trusted. */
export const inParent = async <A>(
  roots: ReadonlyArray<string>,
  path: string,
  use: (at: string, folder: Folder) => Promise<A>,
): Promise<A> => {
  const whole = resolve(path);
  const root = rootOf(roots, whole) ?? dirname(whole);
  return below(
    root,
    dirname(whole),
    async () => {},
    (folder) => use(folder.at(basename(whole)), folder),
  );
};

const makeUnlessThere = (path: string, mode?: number) =>
  mkdir(path, { mode }).catch((error: unknown) => {
    if (codeOf(error) !== "EEXIST") throw error;
  });

/** Node's recursive mkdir reports a read-only disk as a missing folder. */
const makeTrusted = async (path: string, mode?: number): Promise<void> => {
  try {
    await makeUnlessThere(path, mode);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
    await makeTrusted(dirname(path), mode);
    await makeUnlessThere(path, mode);
  }
};

/** Creates a folder and its missing parents; an existing one is not changed. */
export const makeFolders = async (
  roots: ReadonlyArray<string>,
  path: string,
  mode?: number,
): Promise<void> => {
  const whole = resolve(path);
  const root = rootOf(roots, whole);
  await makeTrusted(root ?? whole, mode);
  if (root === undefined) return;
  await below(
    root,
    whole,
    (at) => makeUnlessThere(at, mode),
    async () => {},
  );
};

/** Fails for anything but a regular file. */
export const assertFile = async (handle: FileHandle, path: string) => {
  const info = await handle.stat();
  if (!info.isFile()) throw systemError("EINVAL", path, "this is not a regular file");
  return info;
};

/**
 * Opens a regular file. A pipe or a device would block or do something else, and a file with a second name may be
 * somebody's whom writing to it would harm.
 */
export const openFile = async (
  roots: ReadonlyArray<string>,
  path: string,
  flags: number,
  mode?: number,
): Promise<FileHandle> =>
  inParent(roots, path, async (at) => {
    const handle = await open(at, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, mode).catch(
      (error: unknown) => {
        throw codeOf(error) === "ELOOP"
          ? systemError("ELOOP", path, "symbolic links are not followed")
          : error;
      },
    );
    try {
      const info = await assertFile(handle, path);
      const writes = (flags & (constants.O_WRONLY | constants.O_RDWR)) !== 0;
      if (writes && info.nlink > 1) {
        throw systemError("EMLINK", path, "this file has a second name (a hard link)");
      }
      return handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
  });

/** Errors of concurrent changes during a removal, after which another pass is needed. */
const CHANGED = new Set(["ENOENT", "ENOTDIR", "ELOOP", "EISDIR", "ENOTEMPTY", "EEXIST"]);

const unlessChanged = (error: unknown): void => {
  if (!CHANGED.has(codeOf(error))) throw error;
};

/** The folder where a removal began: it stays on one file system, and moves deep folders up to this folder. */
interface Removal {
  readonly top: Folder;
  readonly device: number;
  /** Whether something was moved up since the last pass. */
  hasMoved: boolean;
}

/** Removes the content of a folder, except entries that change meanwhile. */
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

/** Removes a file, a link itself, or a folder with all that is in it on the file system of the folder above. */
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
