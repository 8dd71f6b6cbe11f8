import { join } from "node:path";

import { Context, Duration, Effect, FileSystem, Layer, Option, Schedule, Schema } from "effect";

import { BackgroundWork } from "../../platform/BackgroundWork.ts";
import { safeFileSystem } from "../../platform/files/SafeFileSystem.ts";
import { FileLock } from "../../platform/locks/FileLock.ts";
import { VolumeProcess } from "../../platform/volume/VolumeProcess.ts";
import { stopwatch, wallMillis } from "../../settings/SteadyClock.ts";
import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import { StartProfile } from "../profile/StartProfile.ts";
import { archiveFolder, PackageArchives, type SharedVenv } from "./PackageArchives.ts";
import { Archive, type Archives, stateOf, Survey, type SurveyedPackage } from "./PackageList.ts";
import { argsFor, DEADLINE, startArchives } from "./StartArchives.ts";

/** Held by the worker that packs a virtual environment. */
const LOCK = ".worker-tetra-packing.lock";

const TOUCH_INTERVAL = Duration.seconds(30);

/** A lock that was not touched for so long belongs to a host that has stopped. At worst, two workers do the same. */
const STOPPED_AFTER = Duration.minutes(5);

/** Packs the packages of a virtual environment that are not in archives already. */
const packer = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const volume = yield* VolumeProcess;
  const archives = yield* PackageArchives;
  const background = yield* BackgroundWork;

  const packOne = Effect.fnUntraced(function* (
    source: SharedVenv,
    record: string | null,
    links: ReadonlyArray<string>,
  ) {
    yield* background.idle;
    return yield* volume.request(
      "archives.pack",
      { ...argsFor(source.venv), record, links, folder: archiveFolder(source) },
      Archive,
      { deadline: DEADLINE },
    );
  });

  /**
   * The archive of a package; a new one unless it is known. Its index is known only if this worker installed it:
   * `toShare` if it can be used by other virtual environments.
   */
  const packPackage = Effect.fnUntraced(function* (
    source: SharedVenv,
    surveyed: SurveyedPackage,
    links: ReadonlyArray<string>,
    isOwn: boolean,
  ) {
    const isShared = isOwn && surveyed.isShareable;
    const known = isShared ? yield* archives.find(source, surveyed) : Option.none<Archive>();
    const { record } = surveyed;
    if (Option.isSome(known)) return { archive: { ...known.value, record }, toShare: [] };
    const archive = yield* packOne(source, record, links);
    return { archive: { ...archive, record }, toShare: isShared ? [{ surveyed, archive }] : [] };
  });

  return Effect.fn("Packing.pack")(function* (
    source: SharedVenv,
    before: Archives | undefined,
    isOwn: boolean,
  ) {
    const { packages, links } = yield* volume.request(
      "archives.survey",
      argsFor(source.venv),
      Survey,
      { deadline: DEADLINE },
    );
    yield* files.makeDirectory(archiveFolder(source), { recursive: true });
    // What an archive lacks because it was a link must still be one.
    const linked = new Set(links);
    const lackOthers = before?.links.some((path) => !linked.has(path)) === true;
    const packed = new Map(lackOthers ? [] : before?.packages.map((each) => [each.record, each]));
    const all = yield* Effect.forEach(packages, (surveyed) => {
      const archive = packed.get(surveyed.record);
      return archive === undefined
        ? packPackage(source, surveyed, links, isOwn)
        : Effect.succeed({ archive, toShare: [] });
    });
    const others = yield* packOne(source, null, links);
    const list: Archives = { packages: all.map(({ archive }) => archive), others, links };
    return { archives: list, toShare: all.flatMap(({ toShare }) => toShare) };
  });
});

/** Makes the archives of virtual environments. */
const archiver = Effect.gen(function* () {
  const volume = yield* VolumeProcess;
  const venvs = yield* VenvBuilder;
  const archives = yield* PackageArchives;
  const background = yield* BackgroundWork;
  const starts = yield* startArchives;
  const pack = yield* packer;

  const compile = (venv: Venv) =>
    volume.request("bytecode.compile", { ...argsFor(venv), python: venv.python }, Schema.Int, {
      deadline: DEADLINE,
    });

  return {
    /** Whether there is nothing to do for a venv in this state. */
    isDone: Effect.fnUntraced(function* (source: SharedVenv, state: string) {
      const { place, venv } = source;
      if (place.isFull === true || (yield* venvs.isInstalling(venv))) return true;
      const list = yield* archives.read(venv);
      if (Option.isNone(list) || list.value.state !== state) return false;
      const packed = list.value.archives;
      if (packed === undefined) return !(yield* archives.isUsed(place));
      return yield* starts.isCurrent(source, packed);
    }),

    /** Compiles a venv and makes its archives, if they are used, of which other venvs can use those `toShare`. */
    archivesFor: Effect.fnUntraced(function* (source: SharedVenv, state: string, isOwn: boolean) {
      const before = Option.getOrUndefined(yield* archives.read(source.venv));
      if (before?.archives !== undefined && before.state === state) {
        return { archives: yield* starts.update(source, before.archives), toShare: [] };
      }
      yield* compile(source.venv);
      if (!(yield* archives.isUsed(source.place))) return { toShare: [] };
      const packed = yield* pack(source, before?.archives, isOwn);
      yield* background.idle;
      return { ...packed, archives: yield* starts.update(source, packed.archives) };
    }),
  };
});

/** Acquires the lock for a venv until the scope closes; false if another worker is packing it. */
const locking = Effect.map(Effect.all([FileLock, FileSystem.FileSystem]), ([locks, files]) =>
  Effect.fnUntraced(function* ({ prefix }: Venv) {
    const path = join(prefix, LOCK);
    const lock = yield* locks.tryLock(path, "exclusive");
    if (Option.isNone(lock)) {
      const { mtime } = yield* files.stat(path);
      const now = yield* wallMillis;
      return Option.exists(mtime, (at) => now - at.getTime() > Duration.toMillis(STOPPED_AFTER));
    }
    yield* lock.value.touch;
    yield* Effect.ignore(lock.value.touch).pipe(
      Effect.repeat(Schedule.spaced(TOUCH_INTERVAL)),
      Effect.forkScoped,
    );
    return true;
  }),
);

/** Compiles and packs the packages of virtual environments on the volume, in the background. */
export class Packing extends Context.Service<
  Packing,
  {
    /**
     * Queues the work for a venv, which is done once for all workers after packages were added. `isNew`: this worker has
     * built the venv.
     */
    readonly update: (source: SharedVenv, isNew: boolean) => Effect.Effect<void>;
  }
>()("worker-tetra/workspace/copies/Packing") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const lock = yield* locking;
      const venvs = yield* VenvBuilder;
      const archives = yield* PackageArchives;
      const background = yield* BackgroundWork;
      const { isDone, archivesFor } = yield* archiver;
      /** Folders of venvs that this worker has built. A later update may replace the first one before that has started. */
      const built = new Set<string>();

      const update = Effect.fnUntraced(function* (source: SharedVenv) {
        const { venv } = source;
        const isOwn = built.has(venv.prefix) || (yield* archives.wasCurrent(venv));
        const state = stateOf(yield* venvs.requirements(venv));
        if (yield* isDone(source, state)) return;
        if (!(yield* lock(venv)) || (yield* isDone(source, state))) return;
        const elapsed = yield* stopwatch;
        yield* background.idle;
        const { toShare, ...packed } = yield* archivesFor(source, state, isOwn);
        // Otherwise packages were added meanwhile, and the worker that did it updates the list.
        const isUnchanged = stateOf(yield* venvs.requirements(venv)) === state;
        if (!isUnchanged || (yield* venvs.isInstalling(venv))) return;
        for (const { surveyed, archive } of toShare) {
          yield* background.idle;
          yield* archives.share(source, surveyed, archive);
        }
        yield* archives.save(venv, { state, ...packed });
        const seconds = Duration.toSeconds(yield* elapsed).toFixed(1);
        yield* Effect.logInfo(`Compiled the packages of ${venv.prefix} in ${seconds} s`);
      }, Effect.scoped);

      return Packing.of({
        update: ({ place, venv }, isNew) =>
          Effect.suspend(() => {
            if (!place.shared) return Effect.void;
            if (isNew) built.add(venv.prefix);
            return background.runLong(`packing ${venv.prefix}`, update({ place, venv }));
          }),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([
      PackageArchives.layer,
      VolumeProcess.layer,
      VenvBuilder.layer,
      FileLock.layer,
      BackgroundWork.layer,
      StartProfile.layer,
    ]),
    Layer.provide(safeFileSystem),
  );
}
