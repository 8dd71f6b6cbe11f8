import { join, relative } from "node:path";

import { Effect, type FileSystem, Option, type PlatformError } from "effect";

import type { Uv } from "../Uv.ts";
import {
  type Distribution,
  FILES_AT_ONCE,
  findReplaced,
  normalizeName,
  readIfPresent,
  unregister,
  writePathFile,
} from "./ImagePackages.ts";
import { addFile, filesInRecord, type FileTree } from "./InstalledFiles.ts";

/** The folder of a virtual environment with links to those packages of the image that it does not replace. */
export const LINKS = "image-packages";

/** A package with a dependency that is not satisfied, and that dependency, as `uv pip check` words it. */
const UNSATISFIED = /The package `([^`]+)` requires `([A-Za-z0-9._-]+)/g;

/** A virtual environment that is being built, and the image's folders of packages. */
interface Built {
  readonly prefix: string;
  readonly sitePackages: string;
  readonly python: string;
  readonly folders: ReadonlyArray<string>;
}

/** Links to all entries of a folder but the files in the tree; folders that have both are created. */
const linkOthers: (
  files: FileSystem.FileSystem,
  from: string,
  to: string,
  tree: FileTree,
) => Effect.Effect<void, PlatformError.PlatformError> = Effect.fnUntraced(
  function* (files, from, to, tree) {
    const names = yield* files.readDirectory(from);
    const linked = names.filter((name) => name !== "__pycache__" && !tree.has(name));
    if (linked.length > 0) yield* files.makeDirectory(to, { recursive: true });
    yield* Effect.forEach(linked, (name) => files.symlink(join(from, name), join(to, name)), {
      concurrency: FILES_AT_ONCE,
      discard: true,
    });
    for (const [name, children] of tree) {
      if (children.size === 0 || !names.includes(name)) continue;
      yield* linkOthers(files, join(from, name), join(to, name), children);
    }
  },
);

/** Shows the image's packages without these ones. */
const showOthers = Effect.fn("ImagePackages.showOthers")(function* (
  files: FileSystem.FileSystem,
  { prefix, sitePackages, folders }: Built,
  replaced: ReadonlyArray<Distribution>,
) {
  const shown: Array<string> = [];
  for (const [index, folder] of folders.entries()) {
    const tree: FileTree = new Map();
    for (const one of replaced.filter((each) => each.folder === folder)) {
      const record = yield* readIfPresent(files, join(folder, one.record, "RECORD"));
      for (const file of filesInRecord(Option.getOrElse(record, () => ""))) addFile(tree, file);
    }
    if (tree.size === 0) {
      shown.push(folder);
      continue;
    }
    const links = join(prefix, LINKS, String(index));
    yield* linkOthers(files, folder, links, tree);
    // Relative, since the virtual environment is built under another name.
    shown.push(relative(sitePackages, links));
  }
  yield* writePathFile(files, sitePackages, shown);
});

/** Unregisters the packages whose dependencies were replaced, until `uv pip check` finds no more of them. */
const unregisterDependents = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  uv: Uv["Service"],
  { sitePackages, python, folders }: Built,
  options: Parameters<Uv["Service"]["run"]>[1],
) {
  let replaced = yield* findReplaced(files, sitePackages, folders);
  for (let before = 0; replaced.length !== before;) {
    before = replaced.length;
    const complaints = yield* uv.run(["pip", "check", "--python", python], options).pipe(
      Effect.as(""),
      Effect.catchTag("ProgramFailed", ({ output }) => Effect.succeed(output)),
    );
    const names = new Set(replaced.map(({ name }) => name));
    const dependents = [...complaints.matchAll(UNSATISFIED)].flatMap(
      ([, dependent = "", dependency = ""]) =>
        names.has(normalizeName(dependency)) ? [normalizeName(dependent)] : [],
    );
    yield* unregister(files, sitePackages, dependents, folders);
    replaced = yield* findReplaced(files, sitePackages, folders);
  }
  return replaced;
});

/** Hides the packages of the image that were replaced, and those that need the image's version of these. */
export const hideReplaced = Effect.fn("ImagePackages.hideReplaced")(function* (
  files: FileSystem.FileSystem,
  uv: Uv["Service"],
  built: Built,
  options: Parameters<Uv["Service"]["run"]>[1],
) {
  const replaced = yield* unregisterDependents(files, uv, built, options);
  if (replaced.length === 0) return;
  yield* Effect.logInfo(
    `Packages of the image that are not used here: ${replaced.map(({ name }) => name).join(", ")}`,
  );
  yield* showOthers(files, built, replaced);
});
