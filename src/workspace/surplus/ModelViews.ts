import { join } from "node:path";

import { Effect, type FileSystem, Option } from "effect";

import { isFolder, namesIn } from "./EndpointSurplus.ts";
import { idleDays } from "./IdleTime.ts";

/** Views of the hub cache whose containers have ended: a worker updates its own each minute. See tetra_volume/models/view.py. */
export const viewSurplus = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  caches: string,
  days: number,
) {
  const parent = join(caches, ".hf-cache", "views");
  const found = [];
  for (const path of (yield* namesIn(files, parent)).map((name) => join(parent, name))) {
    if (!(yield* isFolder(files, path))) continue;
    const idle = Option.getOrElse(yield* idleDays(files, [path]), () => 0);
    const reason = `links to models of a container that ended ${Math.floor(idle)} days ago`;
    if (idle > days) found.push({ path, reason, locks: [] });
  }
  return found;
});
