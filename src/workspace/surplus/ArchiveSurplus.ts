import { join } from "node:path";

import { Effect, type FileSystem, Option } from "effect";

import { readSmallFile } from "../../platform/files/SmallFile.ts";
import { ARCHIVES, PACKAGE_LIST } from "../copies/PackageArchives.ts";
import { namesIn } from "./EndpointSurplus.ts";
import { idleDays } from "./IdleTime.ts";

/** Names of archives in a list. */
const ARCHIVE = /[0-9a-f]{64}\.tar(?:\.zst)?/g;

/** Folders of the index, whose files name archives. */
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
 * What is old in a folder of archives: archives that are not used, and entries of the index without an archive. An entry
 * that can't be read is kept.
 */
const unusedIn = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  folder: string,
  used: ReadonlySet<string>,
  days: number,
) {
  const isOld = (path: string) =>
    Effect.map(
      idleDays(files, [path]),
      Option.exists((idle) => idle > days),
    );
  const names = yield* namesIn(files, folder);
  const indexes = names.filter((name) => INDEX.test(name));
  const archives = names.filter((name) => !INDEX.test(name));
  const unused = yield* Effect.filter(
    archives.filter((name) => !used.has(name)),
    (name) => isOld(join(folder, name)),
  );
  const kept = new Set(archives.filter((name) => !unused.includes(name)));
  const namesKept = (json: string) => (json.match(ARCHIVE) ?? []).some((name) => kept.has(name));
  const isDangling = (entry: string) =>
    Effect.map(
      Effect.option(readSmallFile(files, entry)),
      Option.exists((json) => !namesKept(json)),
    );
  const entries = yield* Effect.forEach(indexes, (index) => pathsIn(files, join(folder, index)));
  const old = yield* Effect.filter(entries.flat(), isOld);
  return [...unused.map((name) => join(folder, name)), ...(yield* Effect.filter(old, isDangling))];
});

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
  const folders = yield* pathsIn(files, join(caches, ARCHIVES));
  const unused = yield* Effect.forEach(folders, (folder) => unusedIn(files, folder, used, days));
  return unused.flat();
});
