import { randomUUID } from "node:crypto";

import { Effect, type FileSystem, type PlatformError } from "effect";

/**
 * Replaces a file or a link atomically: `create` makes it under a temporary name in the same folder, then it is
 * renamed. The temporary name is unpredictable, so no other process can put a link there first. Folders can't be
 * replaced this way, since rename fails if the target is not empty.
 */
export const replaceAtomically = <E, R>(
  files: FileSystem.FileSystem,
  path: string,
  create: (temporary: string) => Effect.Effect<unknown, E, R>,
): Effect.Effect<void, E | PlatformError.PlatformError, R> =>
  Effect.suspend(() => {
    const temporary = `${path}-${randomUUID()}`;
    return create(temporary).pipe(
      Effect.andThen(files.rename(temporary, path)),
      Effect.onError(() => Effect.ignore(files.remove(temporary))),
    );
  });

/** Replaces a file or a link by a file with this content. */
export const replaceFile = (
  files: FileSystem.FileSystem,
  path: string,
  content: string | Uint8Array,
  mode?: number,
): Effect.Effect<void, PlatformError.PlatformError> => {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  return replaceAtomically(files, path, (temporary) =>
    files.writeFile(temporary, bytes, { flag: "wx", mode }),
  );
};

/** Replaces a file or a link by a symbolic link. Fails for a folder. */
export const replaceLink = (
  files: FileSystem.FileSystem,
  path: string,
  target: string,
): Effect.Effect<void, PlatformError.PlatformError> =>
  replaceAtomically(files, path, (temporary) => files.symlink(target, temporary));
