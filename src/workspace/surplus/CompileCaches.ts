import { join } from "node:path";

import { Effect, type FileSystem, Option } from "effect";

import { COMPILE_CACHES } from "../JobEnvironment.ts";
import { isCompileKey } from "../models/CompileKey.ts";
import { isFolder, namesIn } from "./EndpointSurplus.ts";
import { idleDays } from "./IdleTime.ts";

/** The folders of compiled kernels in one cache, by their keys: each is of an image, GPUs and a driver. */
export const compileFolders = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  cache: string,
) {
  const keys = (yield* namesIn(files, cache)).filter(isCompileKey);
  const folders = keys.map((key) => ({ key, path: join(cache, key) }));
  return yield* Effect.filter(folders, ({ path }) => isFolder(files, path));
});

/** Compiled kernels that no worker has used for some days. Libraries can compile them again. */
export const compileSurplus = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  caches: string,
  days: number,
) {
  const found = [];
  for (const cache of COMPILE_CACHES) {
    for (const { path } of yield* compileFolders(files, join(caches, cache))) {
      const idle = Option.getOrElse(yield* idleDays(files, [path]), () => 0);
      const reason = `compiled kernels that no worker used for ${Math.floor(idle)} days`;
      if (idle > days) found.push({ path, reason, locks: [] });
    }
  }
  return found;
});
