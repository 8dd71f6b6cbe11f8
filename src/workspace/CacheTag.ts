import { Effect, FileSystem, Path } from "effect";

import { readSmallFile, replaceFile } from "../platform/files/SmallFile.ts";

/** Marks a folder as a cache: https://bford.info/cachedir/ */
const TAG = "CACHEDIR.TAG";

/** A tag starts with these 43 characters. */
const SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55";

/** Whether a folder is marked as a cache. The folder and its tag must not be links. */
export const isCache = Effect.fnUntraced(function* (folder: string) {
  const files = yield* FileSystem.FileSystem;
  const path = yield* Path.Path;
  const tag = path.join(folder, TAG);
  const { type } = yield* files.lstat(folder);
  if (type !== "Directory") return false;
  return (yield* readSmallFile(files, tag)).startsWith(SIGNATURE);
});

/** Creates a folder for a cache and marks it; an existing folder is not marked, since it may be something else. */
export const makeCache = Effect.fnUntraced(function* (folder: string) {
  const files = yield* FileSystem.FileSystem;
  const path = yield* Path.Path;
  if (yield* files.exists(folder)) return;
  yield* files.makeDirectory(folder, { recursive: true });
  yield* replaceFile(
    files,
    path.join(folder, TAG),
    `${SIGNATURE}\n# A cache of worker-tetra: what is in it can be fetched or made again.\n`,
  );
});
