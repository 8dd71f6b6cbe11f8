import { randomUUID } from "node:crypto";

import { Effect, type FileSystem, type PlatformError } from "effect";

/**
 * Puts a file or a link in the place of whatever is at the path, so that nobody sees half of it: `create` makes it
 * under a temporary name in the same folder, which is then renamed. The temporary name is unpredictable, so nobody
 * can have put a link there. Folders are not replaced this way, since rename refuses a target that is not empty.
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

/** Replaces whatever is at the path by a file with this content. */
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

/** Replaces whatever is at the path, unless it is a folder, by a symbolic link. */
export const replaceLink = (
  files: FileSystem.FileSystem,
  path: string,
  target: string,
): Effect.Effect<void, PlatformError.PlatformError> =>
  replaceAtomically(files, path, (temporary) => files.symlink(target, temporary));
