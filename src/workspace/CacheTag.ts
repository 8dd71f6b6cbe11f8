import { join } from "node:path";

import { Effect, type FileSystem } from "effect";

import { replaceFile } from "../platform/files/AtomicFile.ts";
import { readSmallFile } from "../platform/files/SmallFile.ts";

/** Marks a folder as a cache: https://bford.info/cachedir/ */
const TAG = "CACHEDIR.TAG";

/** A tag starts with these 43 characters. */
const SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55";

/** Whether a folder is marked as a cache. The folder and its tag must not be links. */
export const isCache = Effect.fnUntraced(function* (files: FileSystem.FileSystem, folder: string) {
  const { type } = yield* files.lstat(folder);
  if (type !== "Directory") return false;
  return (yield* readSmallFile(files, join(folder, TAG))).startsWith(SIGNATURE);
});

/** Creates a folder for a cache and marks it; an existing folder is not marked, since it may be something else. */
export const makeCache = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  folder: string,
) {
  if (yield* files.exists(folder)) return;
  yield* files.makeDirectory(folder, { recursive: true });
  yield* replaceFile(
    files,
    join(folder, TAG),
    `${SIGNATURE}\n# A cache of worker-tetra: what is in it can be fetched or made again.\n`,
  );
});
