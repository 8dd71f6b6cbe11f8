import { randomUUID } from "node:crypto";

import { Effect, FileSystem, PlatformError } from "effect";

/** The worker's notes beside jobs' files are much smaller, in bytes. */
const MAX_SIZE = 1024 * 1024;

/** Puts a file in the place of whatever is there, under another name first, so that nobody finds half of it. */
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

/** What a small file says. A pipe, which would never end, a link and a device are not read. */
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
