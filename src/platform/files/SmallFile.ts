import { Effect, type FileSystem, PlatformError } from "effect";

/** In bytes; the worker's own records are much smaller. */
const MAX_SIZE = 1024 * 1024;

/** Reads a small regular file. Fails for links, devices, and pipes, which would block. */
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
