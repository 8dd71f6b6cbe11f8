import { randomUUID } from "node:crypto";
import { basename, dirname, join } from "node:path";

import { Effect, type FileSystem } from "effect";

/** Prefix of folders that are being removed. They are not in use. */
export const REMOVING = ".removing-";

/** The lock file of a virtual environment is next to it, so the lock can be held during the removal. */
export const lockOf = (prefix: string): string => `${prefix}.lock`;

/** Removes a folder. Renames it first, so that no other process uses it half removed. */
export const removeFolder = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  folder: string,
) {
  if (basename(folder).startsWith(REMOVING)) {
    return yield* files.remove(folder, { recursive: true });
  }
  const renamed = join(dirname(folder), `${REMOVING}${randomUUID()}`);
  yield* files.rename(folder, renamed);
  yield* files.remove(renamed, { recursive: true });
});
