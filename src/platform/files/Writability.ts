import { randomUUID } from "node:crypto";
import { tmpdir } from "node:os";

import { Effect, FileSystem, Path } from "effect";

import { Environment } from "../../settings/Environment.ts";
import { diskFault } from "./DiskFault.ts";

/** Whether a folder, or its closest existing parent, is writable according to the system; nothing is created. */
export const isWritable = Effect.fnUntraced(function* (
  folder: string,
): Effect.fn.Return<boolean, never, FileSystem.FileSystem | Path.Path> {
  const files = yield* FileSystem.FileSystem;
  const path = yield* Path.Path;
  const outcome = yield* Effect.result(files.access(folder, { writable: true }));
  if (outcome._tag === "Success") return true;
  const { reason } = outcome.failure;
  if (reason._tag !== "NotFound" || path.dirname(folder) === folder) return false;
  return yield* isWritable(path.dirname(folder));
});

/** Fails unless a file can be written to a folder. The file's name is unique, so that concurrent probes don't meet. */
export const probeWrite = Effect.fnUntraced(function* (folder: string) {
  const files = yield* FileSystem.FileSystem;
  const path = yield* Path.Path;
  const file = path.join(folder, `.write-probe-${randomUUID()}`);
  yield* files.writeFileString(file, "x", { flag: "wx" }).pipe(
    Effect.andThen(files.remove(file)),
    // A quota often shows only when the file is closed, and leaves it there.
    Effect.onError(() => Effect.ignore(files.remove(file))),
    Effect.mapError(diskFault(folder, "can't be written to")),
  );
});

/** The user's folder for caches, or a temporary folder if that is not writable. */
export const writableCache = Effect.gen(function* () {
  const { userCache } = yield* Environment;
  const path = yield* Path.Path;
  if (yield* isWritable(userCache)) return userCache;
  const temporary = path.join(tmpdir(), `worker-tetra-cache-${process.getuid?.() ?? "user"}`);
  return (yield* isWritable(temporary)) ? temporary : userCache;
});
