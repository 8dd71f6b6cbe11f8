import { join } from "node:path";

import { Effect, type FileSystem } from "effect";

import { replaceFile } from "../platform/files/AtomicFile.ts";
import { readSmallFile } from "../platform/files/SmallFile.ts";

/** Marks a folder as a cache: https://bford.info/cachedir/ */
const TAG = "CACHEDIR.TAG";

/** The first 43 characters of every tag file. */
const SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55";

/** Whether a folder is marked as a cache. Fails or returns false if the folder or its tag is a link. */
export const isCache = Effect.fnUntraced(function* (files: FileSystem.FileSystem, folder: string) {
  const { type } = yield* files.lstat(folder);
  if (type !== "Directory") return false;
  return (yield* readSmallFile(files, join(folder, TAG))).startsWith(SIGNATURE);
});

/** Creates and marks a cache folder. An existing folder is not marked, since it may not be a cache. */
export const makeCache = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  folder: string,
) {
  if (yield* files.exists(folder)) return;
  yield* files.makeDirectory(folder, { recursive: true });
  yield* replaceFile(
    files,
    join(folder, TAG),
    `${SIGNATURE}\n# A cache of worker-tetra. Its content can be downloaded or built again.\n`,
  );
});
