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

/** Folder in a venv with links to the packages of the image that it does not replace. */
export const LINKS = "image-packages";

/** Output of `uv pip check`: a package, and its dependency that is not satisfied. */
const UNSATISFIED = /The package `([^`]+)` requires `([A-Za-z0-9._-]+)/g;

/** A venv that is being built, and the package folders of the image. */
interface Built {
  readonly prefix: string;
  readonly sitePackages: string;
  readonly python: string;
  readonly folders: ReadonlyArray<string>;
}

/** Creates links to all entries of a folder, except the files in the tree. Folders with both kinds are created. */
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

/** Makes the image's packages available, except the replaced ones. */
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
    // Relative, because the venv is renamed after the build.
    shown.push(relative(sitePackages, links));
  }
  yield* writePathFile(files, sitePackages, shown);
});

/** Unregisters packages whose dependencies were replaced, until `uv pip check` finds no more. */
const unregisterDependents = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  uv: Uv["Service"],
  { sitePackages, python, folders }: Built,
  options: Parameters<Uv["Service"]["run"]>[1],
) {
  let replaced = yield* findReplaced(files, sitePackages, folders);
  for (let before = 0; replaced.length !== before;) {
    before = replaced.length;
    const report = yield* uv.run(["pip", "check", "--python", python], options).pipe(
      Effect.as(""),
      Effect.catchTag("ProgramFailed", ({ output }) => Effect.succeed(output)),
    );
    const names = new Set(replaced.map(({ name }) => name));
    const dependents = [...report.matchAll(UNSATISFIED)].flatMap(
      ([, dependent = "", dependency = ""]) =>
        names.has(normalizeName(dependency)) ? [normalizeName(dependent)] : [],
    );
    yield* unregister(files, sitePackages, dependents, folders);
    replaced = yield* findReplaced(files, sitePackages, folders);
  }
  return replaced;
});

/** Hides packages of the image that were replaced, and packages that depend on the image's version of them. */
export const hideReplaced = Effect.fn("ImagePackages.hideReplaced")(function* (
  files: FileSystem.FileSystem,
  uv: Uv["Service"],
  built: Built,
  options: Parameters<Uv["Service"]["run"]>[1],
) {
  const replaced = yield* unregisterDependents(files, uv, built, options);
  if (replaced.length === 0) return;
  yield* Effect.logInfo(
    `Image packages that this virtual environment replaces or hides: ${replaced.map(({ name }) => name).join(", ")}`,
  );
  yield* showOthers(files, built, replaced);
});
