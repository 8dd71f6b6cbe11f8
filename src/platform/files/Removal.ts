import { randomUUID } from "node:crypto";
import { basename, dirname, join } from "node:path";

import { Effect, type FileSystem } from "effect";

/** Folders whose names start with this are being removed; nobody uses them. */
export const REMOVING = ".removing-";

/** The lock of a virtual environment is beside it, so that it can be removed while its lock is held. */
export const lockOf = (prefix: string): string => `${prefix}.lock`;

/** Removes a folder. It is renamed first, so that nobody finds a part of it under its own name. */
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
