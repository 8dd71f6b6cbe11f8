import { randomUUID } from "node:crypto";

import { Effect, FileSystem, PlatformError } from "effect";

/** The most bytes that are read; the worker's own notes are much smaller. */
const MAX_SIZE = 1024 * 1024;

/** Replaces whatever is at the path atomically: writes a file under another name, then renames it. */
export const replaceFile = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  file: string,
  text: string,
  mode?: number,
) {
  const aside = `${file}-${randomUUID()}`;
  yield* files.writeFileString(aside, text, { flag: "wx", mode }).pipe(
    Effect.andThen(files.rename(aside, file)),
    Effect.onError(() => Effect.ignore(files.remove(aside))),
  );
});

/** The content of a small file. Pipes (which would block), links and devices are not read. */
export const readSmallFile = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  file: string,
) {
  const { type, size } = yield* files.lstat(file);
  if (type !== "File" || Number(size) > MAX_SIZE) {
    return yield* PlatformError.badArgument({
      module: "FileSystem",
      method: "readFile",
      description: `${file} is not a small regular file`,
    });
  }
  return yield* files.readFileString(file);
});
