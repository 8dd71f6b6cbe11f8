import { randomUUID } from "node:crypto";

import { Effect, FileSystem, Path } from "effect";

/** Folders with such names are on their way out, and nobody's. */
export const REMOVING = ".removing-";

/** The lock of an environment is beside it, so that it can be removed while its lock is held. */
export const lockOf = (environment: string): string => `${environment}.lock`;

/** Removes a folder, renamed first, so that nobody ever finds half of it. */
export const removeWhole = Effect.fnUntraced(function* (folder: string) {
  const files = yield* FileSystem.FileSystem;
  const path = yield* Path.Path;
  const name = path.basename(folder);
  if (name.startsWith(REMOVING)) return yield* files.remove(folder, { recursive: true });
  const aside = path.join(path.dirname(folder), `${REMOVING}${randomUUID()}`);
  yield* files.rename(folder, aside);
  yield* files.remove(aside, { recursive: true });
});
