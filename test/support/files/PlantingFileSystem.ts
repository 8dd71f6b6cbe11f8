import { Effect, FileSystem, Layer } from "effect";

import { memoryFileSystem, type Planted } from "./MemoryFileSystem.ts";

const PRECIOUS = "/precious";

/** A disk on which another process guesses every name: before a file is written, a link with its name is created. */
export const plantingFileSystem = (planted: Readonly<Record<string, Planted>> = {}) => {
  const memory = memoryFileSystem({ ...planted, [PRECIOUS]: "precious" });
  const files = FileSystem.make({
    ...memory.files,
    writeFile: (path, bytes, options) =>
      memory.files
        .remove(path, { force: true })
        .pipe(
          Effect.andThen(memory.files.symlink(PRECIOUS, path)),
          Effect.ignore,
          Effect.andThen(memory.files.writeFile(path, bytes, options)),
        ),
  });
  return {
    files,
    layer: Layer.succeed(FileSystem.FileSystem, files),
    /** The content of the links' target, which must not change. */
    precious: () => memory.show()[PRECIOUS],
  };
};
