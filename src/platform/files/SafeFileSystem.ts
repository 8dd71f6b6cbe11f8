import { constants } from "node:fs";
import { copyFile, type FileHandle, mkdir, open, rename, symlink, unlink } from "node:fs/promises";

import { Effect, FileSystem, Layer } from "effect";

import { codeOf } from "../ErrorCode.ts";
import { FileLock } from "../locks/FileLock.ts";
import { volumeFiles } from "../volume/VolumeFiles.ts";
import { VolumeProcess } from "../volume/VolumeProcess.ts";
import { jobFolders, scratchFolderOn, scratchFolders, volumeRoot } from "./JobFolders.ts";
import { lockOf } from "./Removal.ts";
import { platformErrorOf, unsupportedFlag } from "./SystemErrors.ts";
import { assertFile, inParent, isBelow, makeFolders, openFile } from "./safe/SafePaths.ts";
import { removeAll } from "./safe/SafeRemoval.ts";

const attempt = <A>(method: string, path: string, act: () => Promise<A>) =>
  Effect.tryPromise({ try: act, catch: platformErrorOf(method, path) });

/** A path that refers to the open file, even if another file has its name now. */
const pathOf = (handle: FileHandle, path: string): string =>
  process.platform === "linux" ? `/proc/self/fd/${handle.fd}` : path;

type Roots = ReadonlyArray<string>;

/** Opens a file for writing and truncates it. */
const openEmpty = async (roots: Roots, path: string, isNew: boolean, mode?: number) => {
  const flags = constants.O_WRONLY | constants.O_CREAT | (isNew ? constants.O_EXCL : 0);
  const handle = await openFile(roots, path, flags, mode);
  await handle.truncate(0);
  return handle;
};

/** Follows links, but refuses pipes, which would block, and devices, which may be endless. */
const readRegularFile = async (path: string) => {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    await assertFile(handle, path);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
};

const copyOpened = async (roots: Roots, from: string, to: string) => {
  const source = await openFile(roots, from, constants.O_RDONLY);
  try {
    const target = await openEmpty(roots, to, false);
    try {
      await copyFile(pathOf(source, from), pathOf(target, to));
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
};

const chmodOpened = (roots: Roots, path: string, mode: number) =>
  inParent(roots, path, async (at) => {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    const handle = await open(at, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      await handle.chmod(mode);
    } finally {
      await handle.close();
    }
  });

const renameOpened = (roots: Roots, from: string, to: string) =>
  inParent(roots, from, (source) => inParent(roots, to, (target) => rename(source, target)));

const removeIn =
  (roots: Roots): FileSystem.FileSystem["remove"] =>
  (path, { recursive, force } = {}) =>
    attempt("remove", path, () =>
      (recursive === true ? removeAll(roots, path) : inParent(roots, path, unlink)).catch(
        (error: unknown) => {
          if (force !== true || codeOf(error) !== "ENOENT") throw error;
        },
      ),
    );

const writeFileIn =
  (roots: Roots): FileSystem.FileSystem["writeFile"] =>
  (path, bytes, options = {}) => {
    const { flag = "w", mode } = options;
    if (flag !== "w" && flag !== "wx") {
      return Effect.fail(unsupportedFlag(flag));
    }
    return attempt("writeFile", path, async () => {
      const handle = await openEmpty(roots, path, flag === "wx", mode);
      try {
        await handle.writeFile(bytes);
      } finally {
        // An exceeded quota is often reported only by close.
        await handle.close();
      }
    });
  };

/** Creates a temporary folder in the system's folder for them, or in one of the others if that is not writable. */
const makeTemporaryIn =
  (
    roots: Roots,
    files: FileSystem.FileSystem,
    others: ReadonlyArray<string>,
  ): FileSystem.FileSystem["makeTempDirectory"] =>
  (options = {}) => {
    const usual = files.makeTempDirectory(options);
    if (options.directory !== undefined) return usual;
    const elsewhere = others.map((directory) =>
      Effect.andThen(
        attempt("makeTempDirectory", directory, () =>
          inParent(roots, directory, (at) => mkdir(at)).catch((error: unknown) => {
            if (codeOf(error) !== "EEXIST") throw error;
          }),
        ),
        files.makeTempDirectory({ ...options, directory }),
      ),
    );
    return Effect.catch(usual, (error) =>
      Effect.mapError(Effect.firstSuccessOf(elsewhere), () => error),
    );
  };

const localFileSystem = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const roots = yield* jobFolders;
  return FileSystem.make({
    ...files,
    makeDirectory: (path, { recursive, mode } = {}) =>
      attempt("makeDirectory", path, () =>
        recursive === true
          ? makeFolders(roots, path, mode)
          : inParent(roots, path, (at) => mkdir(at, { mode })),
      ),
    makeTempDirectory: makeTemporaryIn(roots, files, yield* scratchFolders),
    readFile: (path) =>
      isBelow(roots, path)
        ? attempt("readFile", path, () => readRegularFile(path))
        : files.readFile(path),
    remove: removeIn(roots),
    rename: (from, to) => attempt("rename", to, () => renameOpened(roots, from, to)),
    symlink: (target, path) =>
      attempt("symlink", path, () => inParent(roots, path, (at) => symlink(target, at))),
    writeFile: writeFileIn(roots),
    copyFile: (from, to) => attempt("copyFile", to, () => copyOpened(roots, from, to)),
    chmod: (path, mode) => attempt("chmod", path, () => chmodOpened(roots, path, mode)),
  });
});

/**
 * If only the volume is writable. A worker with pipes there is blocked if the volume hangs, but it could not work at all
 * without them.
 */
const makeTemporaryOnVolume = (
  onVolume: ReturnType<typeof volumeFiles>,
  directory: string,
  options: Parameters<FileSystem.FileSystem["makeTempDirectory"]>[0],
) =>
  Effect.andThen(
    onVolume.makeDirectory(directory, { recursive: true }),
    onVolume.makeTempDirectory({ ...options, directory }),
  );

/** Chooses a file system by the path, which is the first argument of its methods, or of some the second one too. */
const routed = (
  local: FileSystem.FileSystem,
  onVolume: ReturnType<typeof volumeFiles>,
  contains: VolumeProcess["Service"]["contains"],
  lastResort: string,
) => {
  const by = (...paths: ReadonlyArray<string>) => (paths.some(contains) ? onVolume : local);
  return FileSystem.make({
    ...local,
    access: (path, options) => by(path).access(path, options),
    chmod: (path, mode) => by(path).chmod(path, mode),
    copyFile: (from, to) => by(from, to).copyFile(from, to),
    lstat: (path) => by(path).lstat(path),
    makeDirectory: (path, options) => by(path).makeDirectory(path, options),
    makeTempDirectory: (options) =>
      options?.directory === undefined
        ? Effect.catch(local.makeTempDirectory(options), (error) =>
            Effect.mapError(makeTemporaryOnVolume(onVolume, lastResort, options), () => error),
          )
        : by(options.directory).makeTempDirectory(options),
    readDirectory: (path, options) =>
      contains(path) ? onVolume.readDirectory(path) : local.readDirectory(path, options),
    readDirectoryEntries: (path) => by(path).readDirectoryEntries(path),
    readFile: (path) => by(path).readFile(path),
    readLink: (path) => by(path).readLink(path),
    realPath: (path) => by(path).realPath(path),
    remove: (path, options) => by(path).remove(path, options),
    rename: (from, to) => by(from, to).rename(from, to),
    stat: (path) => by(path).stat(path),
    symlink: (target, path) => by(path).symlink(target, path),
    writeFile: (path, bytes, options) => by(path).writeFile(path, bytes, options),
  });
};

/** Work that succeeded must not fail because its temporary folder can't be removed. */
const withTemporaryFolders = (files: FileSystem.FileSystem, locks: FileLock["Service"]) => {
  const remove = (path: string) =>
    files
      .remove(path, { recursive: true, force: true })
      .pipe(Effect.catch((error) => Effect.logDebug(`Could not remove ${path}: ${error.message}`)));

  /** Shows later workers that the folder is used. They ignore new locks, so it is acquired in the background. */
  const lock = (folder: string) =>
    Effect.forkScoped(Effect.ignore(locks.tryLock(lockOf(folder), "exclusive")));

  return FileSystem.make({
    ...files,
    makeTempDirectoryScoped: (options) =>
      Effect.acquireRelease(files.makeTempDirectory(options), (folder) =>
        Effect.andThen(remove(folder), remove(lockOf(folder))),
      ).pipe(Effect.tap(lock)),
  });
};

/**
 * Effect's file system for folders that jobs and other endpoints can write to. Writing, renaming and removing do not
 * follow symbolic links in any part of the path. Reading and stat follow links, but never block on a pipe. What is on
 * the network volume is done by its process.
 */
export const safeFileSystem = Layer.effect(
  FileSystem.FileSystem,
  Effect.gen(function* () {
    const volume = yield* VolumeProcess;
    const files = routed(
      yield* localFileSystem,
      volumeFiles(volume),
      volume.contains,
      scratchFolderOn(yield* volumeRoot),
    );
    return withTemporaryFolders(files, yield* FileLock);
  }),
).pipe(Layer.provide([VolumeProcess.layer, FileLock.layer]));
