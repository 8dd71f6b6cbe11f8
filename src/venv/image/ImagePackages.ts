import { join } from "node:path";

import { Effect, type FileSystem, Option } from "effect";

/**
 * Virtual environments use the packages of the image, such as PyTorch, without copying them. A `.pth` file in the
 * venv's site-packages adds the image's folders to `sys.path`, after the venv's own packages. Each package of the
 * image is registered in the venv by a `.dist-info` folder that lists no files, so uv considers it installed and
 * downloads it only if a requirement needs another version. When uv replaces such a package, it removes that folder,
 * so a missing folder means that the package was replaced.
 *
 * Packages of the image that were built against a replaced one (torchvision against torch) would break. `uv pip check`
 * finds them, and they are unregistered too, until it finds no more. Replaced packages must not be importable in part
 * (a submodule that only the image's version has), so the `.pth` file then names a folder of links to everything in
 * the image except their files.
 */
const PATH_FILE = "worker_tetra_image.pth";

/** Content of the file INSTALLER of a registered package. */
const INSTALLER = "worker-tetra-image";

/** Files of a `.dist-info` folder with dependencies and plug-ins, which other tools read. */
const COPIED = ["METADATA", "WHEEL", "entry_points.txt", "top_level.txt"] as const;

/** Concurrent file operations: on a network volume each one has a high latency. */
export const FILES_AT_ONCE = 16;

/** A package of the image. */
export interface Distribution {
  /** Normalized by PEP 503. */
  readonly name: string;
  /** The name of its `.dist-info` folder, such as `torch-2.9.1+cu128.dist-info`. */
  readonly record: string;
  /** The folder that it is installed in. */
  readonly folder: string;
}

/** Normalizes the name of a package by PEP 503. */
export const normalizeName = (name: string): string =>
  name.toLowerCase().replaceAll(/[-_.]+/g, "-");

/** The name and version in the name of a `.dist-info` folder, such as `torch-2.9.1+cu128.dist-info`. */
export const parseRecord = (
  record: string,
): readonly [name: string, version: string] | undefined => {
  const [, name, version] = /^(.+)-([^-]+)\.dist-info$/.exec(record) ?? [];
  return name === undefined || version === undefined ? undefined : [normalizeName(name), version];
};

export const readIfPresent = (files: FileSystem.FileSystem, file: string) =>
  Effect.option(files.readFileString(file));

/** All packages in the image's folders; the first of two with the same name wins, as in `sys.path`. */
const distributionsIn = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  folders: ReadonlyArray<string>,
) {
  const found = new Map<string, Distribution>();
  for (const folder of folders) {
    const records = yield* Effect.orElseSucceed(
      files.readDirectory(folder),
      (): ReadonlyArray<string> => [],
    );
    for (const record of records) {
      const [name] = parseRecord(record) ?? [];
      if (name === undefined || found.has(name)) continue;
      // Skip editable packages: their code is found by a .pth file, which works only in the image's own venv.
      const origin = yield* readIfPresent(files, join(folder, record, "direct_url.json"));
      if (Option.exists(origin, (text) => /"editable"\s*:\s*true/.test(text))) continue;
      found.set(name, { name, record, folder });
    }
  }
  return [...found.values()];
});

const register = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  sitePackages: string,
  { record, folder }: Distribution,
) {
  const target = join(sitePackages, record);
  yield* files.makeDirectory(target);
  const listed = ["INSTALLER", "RECORD"];
  for (const name of COPIED) {
    const text = yield* readIfPresent(files, join(folder, record, name));
    if (Option.isNone(text)) continue;
    yield* files.writeFileString(join(target, name), text.value);
    listed.push(name);
  }
  yield* files.writeFileString(join(target, "INSTALLER"), `${INSTALLER}\n`);
  yield* files.writeFileString(
    join(target, "RECORD"),
    listed.map((name) => `${record}/${name},,\n`).join(""),
  );
});

const isRegistered = (
  files: FileSystem.FileSystem,
  sitePackages: string,
  { record }: Distribution,
) =>
  Effect.map(readIfPresent(files, join(sitePackages, record, "INSTALLER")), (text) =>
    Option.exists(text, (installer) => installer.trim() === INSTALLER),
  );

/** Folders of a `.pth` file come after the venv's own packages in `sys.path`, so the venv's packages win. */
export const writePathFile = (
  files: FileSystem.FileSystem,
  sitePackages: string,
  folders: ReadonlyArray<string>,
) => files.writeFileString(join(sitePackages, PATH_FILE), `${folders.join("\n")}\n`);

/** Makes the image's packages available in a new venv, before anything is installed. */
export const registerImagePackages = Effect.fn("ImagePackages.register")(function* (
  files: FileSystem.FileSystem,
  sitePackages: string,
  folders: ReadonlyArray<string>,
) {
  yield* Effect.forEach(
    yield* distributionsIn(files, folders),
    (one) => register(files, sitePackages, one),
    { concurrency: FILES_AT_ONCE, discard: true },
  );
  yield* writePathFile(files, sitePackages, folders);
});

/** The packages of the image that are no longer registered, because the venv has another version. */
export const findReplaced = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  sitePackages: string,
  folders: ReadonlyArray<string>,
) {
  return yield* Effect.filter(
    yield* distributionsIn(files, folders),
    (one) => Effect.map(isRegistered(files, sitePackages, one), (is) => !is),
    { concurrency: FILES_AT_ONCE },
  );
});

/** Unregisters packages by name. */
export const unregister = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  sitePackages: string,
  names: ReadonlyArray<string>,
  folders: ReadonlyArray<string>,
) {
  for (const one of yield* distributionsIn(files, folders)) {
    if (!names.includes(one.name) || !(yield* isRegistered(files, sitePackages, one))) continue;
    yield* files.remove(join(sitePackages, one.record), { recursive: true });
  }
});
