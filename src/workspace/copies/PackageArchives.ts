import { basename, join } from "node:path";

import {
  Context,
  Duration,
  Effect,
  FileSystem,
  Layer,
  Option,
  type PlatformError,
  Ref,
  Schema,
} from "effect";

import { replaceFile } from "../../platform/files/AtomicFile.ts";
import type { DiskFault } from "../../platform/files/DiskFault.ts";
import { isOnNetwork } from "../../platform/files/Mounts.ts";
import { safeFileSystem } from "../../platform/files/SafeFileSystem.ts";
import { readSmallFile } from "../../platform/files/SmallFile.ts";
import { VolumeProcess } from "../../platform/volume/VolumeProcess.ts";
import * as Setting from "../../settings/Setting.ts";
import type { Place } from "../../venv/Place.ts";
import type { Venv } from "../../venv/Venv.ts";
import { parseVenvName } from "../../venv/VenvNames.ts";
import { indexKey } from "../../venv/uv/IndexKey.ts";
import {
  type Archive,
  type Archives,
  decodeArchive,
  decodePackageList,
  deferredIn,
  type PackageList,
  type StartArchive,
  stateOf,
  type SurveyedPackage,
} from "./PackageList.ts";

const LOCAL_COPIES = Setting.choice({
  name: "WORKER_LOCAL_COPIES",
  doc: "When the virtual environment on the volume is copied to the container's disk, from which Python imports packages faster. `auto`: if the volume is a network file system.",
  choices: ["auto", "always", "never"],
  fallback: "auto",
});

/** The folder of archives on the volume. */
export const ARCHIVES = ".package-archives";

/** The list of packages in a virtual environment. */
export const PACKAGE_LIST = ".worker-tetra-packages.json";

/** Archives that are unpacked concurrently. */
const UNPACKED_AT_ONCE = 4;

const LOOKUPS_AT_ONCE = 16;

/** Maximum time without progress of work that nobody waits for. */
const DEADLINE = Duration.minutes(2);

/** A virtual environment on the volume. */
export interface SharedVenv {
  readonly place: Place;
  readonly venv: Venv;
}

/** A package by its normalized name and its version. */
export interface NamedPackage {
  readonly name: string;
  readonly version: string;
}

/** Archives are only used by workers with the same image and kind of machine, where the same wheels fit. */
export const archiveFolder = ({ place, venv }: SharedVenv): string => {
  const { version, fingerprint } = parseVenvName(basename(venv.prefix)) ?? {};
  return join(place.caches, ARCHIVES, `${version}-${fingerprint}-${process.arch}`);
};

/** Names the archives of packages by name and version, for workers with the same settings of uv. */
const sharing = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const volume = yield* VolumeProcess;
  const key = yield* indexKey;

  /** The file that names the archive of a package; none if its name or version can't be part of a path. */
  const entryOf = Effect.fnUntraced(function* (
    source: SharedVenv,
    { name, version }: NamedPackage,
  ) {
    const isSafe = /^[a-z0-9][a-z0-9-]*$/.test(name) && /^[\w.+!]+$/.test(version);
    const folder = join(archiveFolder(source), `index-${yield* key}`);
    return isSafe
      ? Option.some({ folder, file: join(folder, `${name}-${version}.json`) })
      : Option.none();
  });

  const find = Effect.fnUntraced(function* (source: SharedVenv, named: NamedPackage) {
    const entry = yield* entryOf(source, named);
    if (Option.isNone(entry)) return Option.none<Archive>();
    const text = yield* Effect.option(readSmallFile(files, entry.value.file));
    const found = Option.flatMap(text, decodeArchive);
    if (Option.isNone(found)) return found;
    // A damaged archive has been removed.
    const exists = files.exists(join(archiveFolder(source), found.value.archive));
    return (yield* Effect.orElseSucceed(exists, () => false)) ? found : Option.none();
  });

  const isReleased = (
    source: SharedVenv,
    { record }: SurveyedPackage,
    { archive }: Archive,
  ): Effect.Effect<boolean, DiskFault> =>
    volume.request(
      "archives.verify",
      { prefix: source.venv.prefix, record, archive: join(archiveFolder(source), archive) },
      Schema.Boolean,
      { deadline: DEADLINE },
    );

  const share: PackageArchives["Service"]["share"] = Effect.fnUntraced(
    function* (source, surveyed, archive) {
      const entry = yield* entryOf(source, surveyed);
      if (Option.isNone(entry) || !(yield* isReleased(source, surveyed, archive))) return;
      yield* files.makeDirectory(entry.value.folder, { recursive: true });
      yield* replaceFile(files, entry.value.file, JSON.stringify(archive));
    },
  );

  return { find, share };
});

/**
 * Archives of installed packages on the volume. On a network file system, reading many small files is slow and reading
 * a large one is fast. The archive of a package is used by all endpoints with the same image and settings of uv.
 */
export class PackageArchives extends Context.Service<
  PackageArchives,
  {
    /** Whether copies are made of the virtual environments in this place. */
    readonly isUsed: (place: Place) => Effect.Effect<boolean>;
    /** The list of a venv's packages, which may have fewer packages than the venv; none if there is no list. */
    readonly read: (venv: Venv) => Effect.Effect<Option.Option<PackageList>>;
    /** The archives of a venv with these requirements; none if they do not have all of its packages. */
    readonly current: (
      venv: Venv,
      requirements: ReadonlyArray<string>,
    ) => Effect.Effect<Option.Option<Archives>>;
    /**
     * Whether this worker has seen archives with all packages of a venv: then what they lack later was installed by this
     * worker, or at least with its settings.
     */
    readonly wasCurrent: (venv: Venv) => Effect.Effect<boolean>;
    readonly save: (
      venv: Venv,
      list: PackageList,
    ) => Effect.Effect<void, PlatformError.PlatformError>;
    /** Deletes the list of a venv whose archives can't be used, so that it is packed again. */
    readonly forget: (venv: Venv) => Effect.Effect<void>;
    /** The archive of a package that was installed with this worker's settings. */
    readonly find: (
      source: SharedVenv,
      named: NamedPackage,
    ) => Effect.Effect<Option.Option<Archive>>;
    /** The archives of packages; none if one of them is missing. */
    readonly findAll: (
      source: SharedVenv,
      packages: ReadonlyArray<NamedPackage>,
    ) => Effect.Effect<Option.Option<ReadonlyArray<Archive>>>;
    /** Makes an archive of a package available to `find`, unless it lacks files of the package or has edited ones. */
    readonly share: (
      source: SharedVenv,
      surveyed: SurveyedPackage,
      archive: Archive,
    ) => Effect.Effect<void, DiskFault | PlatformError.PlatformError>;
    /** Unpacks archives into a local folder; in the background with the lowest priority. */
    readonly unpack: (
      source: SharedVenv,
      archives: ReadonlyArray<Archive>,
      target: string,
      priority?: "normal" | "background",
    ) => Effect.Effect<void, DiskFault>;
    /** Links paths of a venv into its copy. */
    readonly link: (
      venv: Venv,
      paths: ReadonlyArray<string>,
      target: string,
    ) => Effect.Effect<void, DiskFault>;
    /**
     * Replaces the links of a copy that was made of the start archive by what all archives contain, which have been
     * unpacked in the folder `aside`.
     */
    readonly complete: (
      venv: Venv,
      copy: { readonly target: string; readonly aside: string },
      archives: Archives & { readonly start: StartArchive },
    ) => Effect.Effect<void, DiskFault>;
  }
>()("worker-tetra/workspace/copies/PackageArchives") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const volume = yield* VolumeProcess;
      const mode = yield* LOCAL_COPIES.value;
      const { find, share } = yield* sharing;
      /** Folders of venvs whose archives had all of their packages. */
      const seen = yield* Ref.make<ReadonlySet<string>>(new Set());

      const read = ({ prefix }: Venv) =>
        Effect.map(Effect.option(readSmallFile(files, join(prefix, PACKAGE_LIST))), (text) =>
          Option.flatMap(text, decodePackageList),
        );

      const remember = ({ prefix }: Venv) => Ref.update(seen, (all) => new Set([...all, prefix]));

      return PackageArchives.of({
        isUsed: ({ shared, directory }) =>
          mode === "auto" && shared
            ? isOnNetwork(directory)
            : Effect.succeed(mode === "always" && shared),
        read,
        current: Effect.fnUntraced(function* (venv, requirements) {
          const list = yield* read(venv);
          if (Option.isNone(list) || list.value.state !== stateOf(requirements))
            return Option.none();
          yield* remember(venv);
          return Option.fromUndefinedOr(list.value.archives);
        }),
        wasCurrent: ({ prefix }) => Effect.map(Ref.get(seen), (all) => all.has(prefix)),
        save: (venv, list) =>
          replaceFile(files, join(venv.prefix, PACKAGE_LIST), JSON.stringify(list)).pipe(
            Effect.andThen(remember(venv)),
          ),
        find,
        findAll: (source, packages) =>
          Effect.map(
            Effect.forEach(packages, (named) => find(source, named), {
              concurrency: LOOKUPS_AT_ONCE,
            }),
            Option.all,
          ),
        share,
        forget: ({ prefix }) => Effect.ignore(files.remove(join(prefix, PACKAGE_LIST))),
        unpack: (source, archives, target, priority = "normal") =>
          Effect.forEach(
            // The largest ones take the longest.
            archives.toSorted((a, b) => b.size - a.size),
            ({ archive }) =>
              volume.request(
                "archives.unpack",
                { archive: join(archiveFolder(source), archive), target, priority },
                Schema.Null,
              ),
            { concurrency: priority === "normal" ? UNPACKED_AT_ONCE : 1, discard: true },
          ),
        link: ({ prefix }, links, target) =>
          Effect.asVoid(volume.request("archives.link", { prefix, target, links }, Schema.Null)),
        complete: ({ prefix }, copy, { links, start }) =>
          Effect.asVoid(
            volume.request(
              "archives.complete",
              { prefix, ...copy, links, deferred: deferredIn(start, links) },
              Schema.Null,
            ),
          ),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide(VolumeProcess.layer),
    Layer.provide(safeFileSystem),
  );
}
