import { randomUUID } from "node:crypto";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { Effect, FileSystem } from "effect";

import { Environment } from "../../settings/Environment.ts";
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

/** Fails if a file can't be written to a folder. Uses a unique file name, since workers probe concurrently. */
export const probeWrite = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  folder: string,
) {
  const file = join(folder, `.write-probe-${randomUUID()}`);
  yield* files.writeFileString(file, "x", { flag: "wx" }).pipe(
    Effect.andThen(files.remove(file)),
    // An exceeded quota is often reported only by close, when the file exists already.
    Effect.onError(() => Effect.ignore(files.remove(file))),
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
