/* oxlint-disable no-await-in-loop -- the components of a path are opened one after the other */
import { constants, existsSync } from "node:fs";
import { type FileHandle, lstat, mkdir, open } from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";

import { codeOf } from "../../ErrorCode.ts";

/**
 * Jobs and other endpoints can write to most folders that the worker uses, so any folder in a path may be replaced
 * by a link at any moment. Therefore every path is opened from its root, one component after the other, and none of
 * them may be a link. Node has no openat(2), but on Linux `/proc/self/fd/N/name` does the same: it refers to the name
 * in the folder that was opened as N, even if that folder was moved or replaced.
 */
const HAS_DESCRIPTOR_PATHS = process.platform === "linux" && existsSync("/proc/self/fd");

/** Opens a folder only as part of a path, without a request to the server of a network volume. */
const O_PATH = process.platform === "linux" ? 0o10000000 : constants.O_RDONLY;

/** An error in the form of Node's system errors. */
export const systemError = (code: string, path: string, reason: string): Error =>
  Object.assign(new Error(`${code}: ${reason}, '${path}'`), { code, path });

/** An open folder. */
export interface Folder {
  /** The path of an entry. It stays valid if the folder is moved. */
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

/** Opens a folder in another one; `shown` is the path for error messages. */
export const openIn = async (folder: Folder, name: string, shown: string): Promise<Folder> => {
  const path = folder.at(name);
  try {
    const flags = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
    return folderOf(await open(path, flags), path);
  } catch (error) {
    // For a link, open fails with ENOTDIR.
    if (!(await lstat(path)).isSymbolicLink()) throw error;
    throw systemError("ELOOP", shown, "symbolic links are not followed");
  }
};

/** The outermost root that contains a path. */
const rootOf = (roots: ReadonlyArray<string>, path: string): string | undefined =>
  roots
    .map((root) => resolve(root))
    .filter((root) => path !== root && path.startsWith(root === sep ? sep : root + sep))
    .toSorted((a, b) => a.length - b.length)[0];

/** Opens every folder from a root down to the path, and runs `use` in the last one. */
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

/** Runs an action in the parent folder of a path. Paths outside of the roots are trusted: their links are followed. */
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

const makeIfMissing = (path: string, mode?: number) =>
  mkdir(path, { mode }).catch((error: unknown) => {
    if (codeOf(error) !== "EEXIST") throw error;
  });

/** Creates folders recursively. Node's recursive mkdir reports ENOENT on a read-only disk. */
const makeTrusted = async (path: string, mode?: number): Promise<void> => {
  try {
    await makeIfMissing(path, mode);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
    await makeTrusted(dirname(path), mode);
    await makeIfMissing(path, mode);
  }
};

/** Creates a folder and its missing parents. Existing folders are not changed. */
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
    (at) => makeIfMissing(at, mode),
    async () => {},
  );
};

/** Fails for anything but a regular file. */
export const assertFile = async (handle: FileHandle, path: string) => {
  const info = await handle.stat();
  if (!info.isFile()) throw systemError("EINVAL", path, "this is not a regular file");
  return info;
};

/** Other processes may remove and create a file between the two ways of opening it. */
const OPEN_TRIES = 5;

/** On MooseFS, O_CREAT without O_EXCL fails with EEXIST if two hosts create a file at the same time. */
const openOrCreate = async (
  at: string,
  flags: number,
  mode?: number,
  tries = OPEN_TRIES,
): Promise<FileHandle> => {
  const { O_CREAT, O_EXCL } = constants;
  if ((flags & O_EXCL) !== 0 || (flags & O_CREAT) === 0) return open(at, flags, mode);
  try {
    return await open(at, flags & ~O_CREAT);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
  try {
    return await open(at, flags | O_EXCL, mode);
  } catch (error) {
    if (codeOf(error) !== "EEXIST" || tries === 1) throw error;
    return openOrCreate(at, flags, mode, tries - 1);
  }
};

/**
 * Opens a regular file. Fails for pipes and devices, which may block, and for writing to a file with more than one
 * hard link, which may belong to another user or endpoint.
 */
export const openFile = async (
  roots: ReadonlyArray<string>,
  path: string,
  flags: number,
  mode?: number,
): Promise<FileHandle> =>
  inParent(roots, path, async (at) => {
    const all = flags | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await openOrCreate(at, all, mode).catch((error: unknown) => {
      throw codeOf(error) === "ELOOP"
        ? systemError("ELOOP", path, "symbolic links are not followed")
        : error;
    });
    try {
      const info = await assertFile(handle, path);
      const writes = (flags & (constants.O_WRONLY | constants.O_RDWR)) !== 0;
      if (writes && info.nlink > 1) {
        throw systemError("EMLINK", path, "this file has another hard link");
      }
      return handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
  });
