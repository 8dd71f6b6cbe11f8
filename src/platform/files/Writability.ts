import { randomUUID } from "node:crypto";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { Duration, Effect, FileSystem, Option } from "effect";

import { Environment } from "../../settings/Environment.ts";
import { wallMillis } from "../../settings/SteadyClock.ts";
import { diskFault } from "./DiskFault.ts";

/** Whether a folder, or its closest existing parent, is writable by its permissions. Creates nothing. */
export const isWritable = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  folder: string,
): Effect.fn.Return<boolean> {
  const outcome = yield* Effect.result(files.access(folder, { writable: true }));
  if (outcome._tag === "Success") return true;
  const { reason } = outcome.failure;
  if (reason._tag !== "NotFound" || dirname(folder) === folder) return false;
  return yield* isWritable(files, dirname(folder));
});

/** Start of the names of files that only test whether a folder is writable. */
const PROBE = ".write-probe-";

/** A probe of this age belongs to a worker that was killed. */
const ABANDONED_AFTER = Duration.minutes(10);

/** On a volume that hangs, a probe stays for a later worker. */
const MAX_REMOVAL_WAIT = Duration.seconds(2);

/** Removes probes of killed workers. */
export const removeOldProbes = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  folder: string,
  names: ReadonlyArray<string>,
) {
  const oldest = (yield* wallMillis) - Duration.toMillis(ABANDONED_AFTER);
  for (const name of names.filter((one) => one.startsWith(PROBE))) {
    const file = join(folder, name);
    const info = yield* Effect.option(files.lstat(file));
    const changed = Option.flatMap(info, ({ mtime }) => mtime);
    if (Option.exists(changed, (date) => date.getTime() < oldest)) {
      yield* Effect.ignore(files.remove(file));
    }
  }
});

/** Fails if a file can't be written to a folder. Uses a unique file name, since workers probe concurrently. */
export const probeWrite = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  folder: string,
) {
  const file = join(folder, `${PROBE}${randomUUID()}`);
  yield* files.writeFileString(file, "x", { flag: "wx" }).pipe(
    Effect.andThen(files.remove(file)),
    // An exceeded quota is often reported only by close, when the file exists already.
    Effect.onError(() => Effect.ignore(Effect.timeout(files.remove(file), MAX_REMOVAL_WAIT))),
    Effect.mapError(diskFault(folder, "can't be written to")),
  );
});

/** The user's cache folder, or a temporary folder if it is not writable. */
export const writableCache = Effect.gen(function* () {
  const { userCache } = yield* Environment;
  const files = yield* FileSystem.FileSystem;
  if (yield* isWritable(files, userCache)) return userCache;
  const temporary = join(tmpdir(), `worker-tetra-cache-${process.getuid?.() ?? "user"}`);
  return (yield* isWritable(files, temporary)) ? temporary : userCache;
});
