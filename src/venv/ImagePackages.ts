import { Effect, FileSystem, Option, Path, type PlatformError } from "effect";

/** Makes folders of packages visible to an environment. */
const VISIBLE = "worker_tetra_image.pth";

/** What is said in an environment to have installed a package of the image. */
const INSTALLER = "worker-tetra-image";

/** The files of a package's record that others read: its needs, its plug-ins. */
const COPIED = ["METADATA", "WHEEL", "entry_points.txt", "top_level.txt"] as const;

/** Files in flight at once on a network volume, which is slow for each of them. */
const AT_ONCE = 16;

/** Where an environment has links to those packages of the image that it does not replace. */
export const LINKS = "image-packages";

/** A package that the image has. */
interface Distribution {
  /** As PEP 503 spells it. */
  readonly name: string;
  /** The name of its record's folder, such as `torch-2.9.1+cu128.dist-info`. */
  readonly record: string;
  /** The folder that it is installed in. */
  readonly folder: string;
}

/** Names of packages that count as the same are spelled the same. */
export const normalized = (name: string): string => name.toLowerCase().replaceAll(/[-_.]+/g, "-");

/** Paths of files, as a tree; a file has no branches. */
interface Tree extends Map<string, Tree> {}

const plant = (tree: Tree, file: string): void => {
  let node = tree;
  for (const part of file.split("/")) {
    const next: Tree = node.get(part) ?? new Map();
    node.set(part, next);
    node = next;
  }
};

/** The first column of a wheel's RECORD. */
const filesOf = (record: string): ReadonlyArray<string> =>
  record
    .split("\n")
    .map((line) => /^"((?:[^"]|"")*)"|^([^,\r]*)/.exec(line))
    .map((found) => found?.[1]?.replaceAll('""', '"') ?? found?.[2] ?? "")
    .filter((file) => file !== "" && !file.startsWith("..") && !file.startsWith("/"));

/**
 * The packages that an image brings, as a virtual environment sees them: importable where they are, and with a
 * record of each in the environment, so that uv takes them for installed. What uv then replaces is hidden.
 */
export const imagePackages = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const path = yield* Path.Path;

  const readIfThere = (file: string) => Effect.option(files.readFileString(file));

  const distributions = Effect.fnUntraced(function* (folders: ReadonlyArray<string>) {
    const found = new Map<string, Distribution>();
    for (const folder of folders) {
      const records = yield* Effect.orElseSucceed(
        files.readDirectory(folder),
        (): ReadonlyArray<string> => [],
      );
      for (const record of records) {
        const [, spelled] = /^(.+)-[^-]+\.dist-info$/.exec(record) ?? [];
        if (spelled === undefined || found.has(normalized(spelled))) continue;
        // Its code is elsewhere, found by a .pth file that counts only in the image's own environment.
        const origin = yield* readIfThere(path.join(folder, record, "direct_url.json"));
        if (Option.exists(origin, (text) => /"editable"\s*:\s*true/.test(text))) continue;
        found.set(normalized(spelled), { name: normalized(spelled), record, folder });
      }
    }
    return [...found.values()];
  });

  /** The record of a package without its files: removing it removes nothing else. */
  const announce = Effect.fnUntraced(function* (own: string, { record, folder }: Distribution) {
    const target = path.join(own, record);
    yield* files.makeDirectory(target);
    const listed = ["INSTALLER", "RECORD"];
    for (const name of COPIED) {
      const text = yield* readIfThere(path.join(folder, record, name));
      if (Option.isNone(text)) continue;
      yield* files.writeFileString(path.join(target, name), text.value);
      listed.push(name);
    }
    yield* files.writeFileString(path.join(target, "INSTALLER"), `${INSTALLER}\n`);
    yield* files.writeFileString(
      path.join(target, "RECORD"),
      listed.map((name) => `${record}/${name},,\n`).join(""),
    );
  });

  const isAnnounced = (own: string, { record }: Distribution) =>
    Effect.map(readIfThere(path.join(own, record, "INSTALLER")), (text) =>
      Option.exists(text, (words) => words.trim() === INSTALLER),
    );

  /** Links to all in a folder but the files in the tree; folders that have both are made. */
  const linkOthers: (
    from: string,
    to: string,
    tree: Tree,
  ) => Effect.Effect<void, PlatformError.PlatformError> = Effect.fnUntraced(
    function* (from, to, tree) {
      const names = yield* files.readDirectory(from);
      const linked = names.filter((name) => name !== "__pycache__" && !tree.has(name));
      if (linked.length > 0) yield* files.makeDirectory(to, { recursive: true });
      yield* Effect.forEach(
        linked,
        (name) => files.symlink(path.join(from, name), path.join(to, name)),
        { concurrency: AT_ONCE, discard: true },
      );
      for (const [name, branch] of tree) {
        if (branch.size === 0 || !names.includes(name)) continue;
        yield* linkOthers(path.join(from, name), path.join(to, name), branch);
      }
    },
  );

  return {
    distributions,
    /** Makes the packages visible to a new environment, before anything is installed in it. */
    offer: Effect.fn("ImagePackages.offer")(function* (
      own: string,
      folders: ReadonlyArray<string>,
    ) {
      yield* Effect.forEach(yield* distributions(folders), (one) => announce(own, one), {
        concurrency: AT_ONCE,
        discard: true,
      });
      // Folders of a .pth file come after the environment's own packages, so those win.
      yield* files.writeFileString(path.join(own, VISIBLE), `${folders.join("\n")}\n`);
    }),
    /** The packages that an environment has something else for. */
    replaced: Effect.fnUntraced(function* (own: string, folders: ReadonlyArray<string>) {
      const all = yield* distributions(folders);
      return yield* Effect.filter(all, (one) => Effect.map(isAnnounced(own, one), (is) => !is), {
        concurrency: AT_ONCE,
      });
    }),
    /** Takes back that packages are there. */
    withdraw: (own: string, names: ReadonlyArray<string>, folders: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        for (const one of yield* distributions(folders)) {
          if (!names.includes(one.name) || !(yield* isAnnounced(own, one))) continue;
          yield* files.remove(path.join(own, one.record), { recursive: true });
        }
      }),
    /** Leaves visible what does not belong to these packages. */
    hide: Effect.fn("ImagePackages.hide")(function* (
      prefix: string,
      own: string,
      hidden: ReadonlyArray<Distribution>,
      folders: ReadonlyArray<string>,
    ) {
      const shown: Array<string> = [];
      for (const [index, folder] of folders.entries()) {
        const tree: Tree = new Map();
        for (const one of hidden.filter((each) => each.folder === folder)) {
          const record = yield* readIfThere(path.join(folder, one.record, "RECORD"));
          for (const file of filesOf(Option.getOrElse(record, () => ""))) plant(tree, file);
        }
        if (tree.size === 0) {
          shown.push(folder);
          continue;
        }
        const links = path.join(prefix, LINKS, String(index));
        yield* linkOthers(folder, links, tree);
        // Relative, since the environment is built under another name.
        shown.push(path.relative(own, links));
      }
      yield* files.writeFileString(path.join(own, VISIBLE), `${shown.join("\n")}\n`);
    }),
  };
});
