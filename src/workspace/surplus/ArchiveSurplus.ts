import { join } from "node:path";

import { Effect, type FileSystem, Option } from "effect";

import { readSmallFile } from "../../platform/files/SmallFile.ts";
import { ARCHIVES, PACKAGE_LIST } from "../copies/PackageArchives.ts";
import { namesIn } from "./EndpointSurplus.ts";
import { idleDays } from "./IdleTime.ts";

/** Names of archives in a list. */
const ARCHIVE = /[0-9a-f]{64}\.tar(?:\.zst)?/g;

/** Folders of the index, which is small. */
const INDEX = /^index-/;

const pathsIn = (files: FileSystem.FileSystem, folder: string) =>
  Effect.map(namesIn(files, folder), (names) => names.map((name) => join(folder, name)));

/** A missing list is empty. Fails for one that can't be read, since all of its archives would count as unused. */
const archivesIn = (files: FileSystem.FileSystem, venv: string) =>
  readSmallFile(files, join(venv, PACKAGE_LIST)).pipe(
    Effect.catchIf(
      ({ reason }) => reason._tag === "NotFound" || reason._tag === "BadResource",
      () => Effect.succeed(""),
    ),
    Effect.map((list) => list.match(ARCHIVE) ?? []),
  );

/**
 * Archives of some age that no virtual environment has been packed into. Workers that find one in the index or in an
 * older list pack the package again.
 */
export const archiveSurplus = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  runtimes: string,
  caches: string,
  days: number,
) {
  const endpoints = yield* pathsIn(files, runtimes);
  const venvs = yield* Effect.forEach(endpoints, (endpoint) =>
    pathsIn(files, join(endpoint, ".venvs")),
  );
  const lists = yield* Effect.forEach(venvs.flat(), (venv) => archivesIn(files, venv));
  const used = new Set(lists.flat());
  const unused: Array<string> = [];
  for (const folder of yield* pathsIn(files, join(caches, ARCHIVES))) {
    for (const name of yield* namesIn(files, folder)) {
      if (used.has(name) || INDEX.test(name)) continue;
      const path = join(folder, name);
      if (Option.exists(yield* idleDays(files, [path]), (idle) => idle > days)) unused.push(path);
    }
  }
  return unused;
});
