import { basename, join } from "node:path";

import { Effect, FileSystem, Option } from "effect";

import { removeFolder } from "../../platform/files/Removal.ts";
import { FileLock } from "../../platform/locks/FileLock.ts";

/** Folders in uv's cache with unpacked packages. */
const ARCHIVES = /^archive-v\d+$/;

/** The lock that uv holds while it uses a cache. */
const cacheLock = (cache: string): string => join(cache, ".lock");

/**
 * Unpacked packages in uv's cache. uv does not notice that the files of an archive are empty since the disk was full
 * when it was unpacked. It downloads a package again if the archive is missing.
 */
export const uvArchives = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const locks = yield* FileLock;

  const namesIn = (folder: string) =>
    Effect.orElseSucceed(files.readDirectory(folder), (): ReadonlyArray<string> => []);

  const pathsIn = (folder: string) =>
    Effect.map(namesIn(folder), (names) => names.map((name) => join(folder, name)));

  /** The paths of all archives. */
  const list = Effect.fnUntraced(function* (cache: string) {
    const folders = (yield* pathsIn(cache)).filter((path) => ARCHIVES.test(basename(path)));
    return (yield* Effect.forEach(folders, pathsIn)).flat();
  });

  const contains = (archive: string, packages: ReadonlyArray<string>) =>
    packages.length === 0
      ? Effect.succeed(false)
      : Effect.map(namesIn(archive), (names) => names.some((name) => packages.includes(name)));

  return {
    list,

    /**
     * Removes the archives that were added since `before` was listed, and those of the given packages, which are names
     * of `.dist-info` folders. Does nothing while uv uses the cache.
     */
    discard: Effect.fn("UvArchives.discard")(
      function* (cache: string, before: ReadonlyArray<string>, packages: ReadonlyArray<string>) {
        const lock = yield* locks.tryLock(cacheLock(cache), "exclusive");
        if (Option.isNone(lock)) return;
        const known = new Set(before);
        for (const archive of yield* list(cache)) {
          if (known.has(archive) && !(yield* contains(archive, packages))) continue;
          yield* removeFolder(files, archive);
        }
      },
      Effect.scoped,
      Effect.catch((error) =>
        Effect.logDebug(`Could not remove archives of uv's cache: ${error.message}`),
      ),
    ),
  };
});
