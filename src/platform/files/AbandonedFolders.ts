import { tmpdir } from "node:os";
import { join } from "node:path";

import { Duration, Effect, FileSystem, Layer, Option } from "effect";

import { wallMillis } from "../../settings/SteadyClock.ts";
import { FileLock } from "../locks/FileLock.ts";
import { scratchFolders } from "./JobFolders.ts";
import { safeFileSystem } from "./SafeFileSystem.ts";

/** The lock of a temporary folder, which is next to it. */
const LOCK = /^worker-tetra-[^/]+\.lock$/;

/** A worker that has just created a folder may not have locked it yet. */
const MIN_AGE = Duration.minutes(1);

/**
 * Removes temporary folders of workers that were killed. Their locks are free, also if the worker ran in another
 * container that shared the folder. Folders of other users and links are left alone.
 */
export const removeAbandonedFolders = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const locks = yield* FileLock;
  const parents = [tmpdir(), ...(yield* scratchFolders)];
  const user = process.getuid?.() ?? -1;

  const isOwn = ({ uid }: FileSystem.File.Info) => Option.contains(uid, user);

  const isAbandoned = Effect.fnUntraced(function* (lock: string, folder: string) {
    const [file, kept] = yield* Effect.all([files.lstat(lock), files.lstat(folder)]);
    const now = yield* wallMillis;
    const isOld = Option.exists(
      file.mtime,
      (time) => now - time.getTime() > Duration.toMillis(MIN_AGE),
    );
    return isOld && file.type === "File" && kept.type === "Directory" && [file, kept].every(isOwn);
  });

  const removeUnlessUsed = Effect.fnUntraced(
    function* (lock: string) {
      const folder = lock.slice(0, -".lock".length);
      if (!(yield* isAbandoned(lock, folder))) return;
      const held = yield* locks.tryLock(lock, "exclusive");
      if (Option.isNone(held)) return;
      yield* files.remove(folder, { recursive: true });
      yield* files.remove(lock);
      yield* Effect.logDebug(`Removed ${folder} of a worker that was killed`);
    },
    Effect.scoped,
    Effect.catch((error) => Effect.logDebug(`Could not remove ${error.message}`)),
  );

  for (const parent of new Set(parents)) {
    const names = yield* Effect.orElseSucceed(files.readDirectory(parent), () => []);
    for (const name of names) if (LOCK.test(name)) yield* removeUnlessUsed(join(parent, name));
  }
}).pipe(Effect.withSpan("AbandonedFolders.remove"));

/** Removes them in the background. */
export const abandonedFolders = Layer.effectDiscard(Effect.forkScoped(removeAbandonedFolders)).pipe(
  Layer.provide([FileLock.layer, safeFileSystem]),
);
