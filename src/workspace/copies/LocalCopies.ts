import { tmpdir } from "node:os";
import { join } from "node:path";

import {
  Boolean,
  Context,
  Duration,
  Effect,
  Exit,
  FileSystem,
  Layer,
  Option,
  Ref,
  Scope,
} from "effect";

import { BackgroundWork } from "../../platform/BackgroundWork.ts";
import type { DiskFault } from "../../platform/files/DiskFault.ts";
import { DiskUsage } from "../../platform/files/DiskUsage.ts";
import { isInMemory, isOnNetwork } from "../../platform/files/Mounts.ts";
import { safeFileSystem } from "../../platform/files/SafeFileSystem.ts";
import { isWritable } from "../../platform/files/Writability.ts";
import { VolumeProcess } from "../../platform/volume/VolumeProcess.ts";
import { stopwatch } from "../../settings/SteadyClock.ts";
import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import { StartProfile } from "../profile/StartProfile.ts";
import { completion, forgettingMissing } from "./CopyCompletion.ts";
import { PackageArchives, type SharedVenv } from "./PackageArchives.ts";
import { type Archives, totalOf } from "./PackageList.ts";
import { startArchives } from "./StartArchives.ts";

const PREFIX = "worker-tetra-venv-";

/** A copy of more files takes longer than what it saves. */
const MAX_FILES = 50_000;

/** Space that is left to jobs, in bytes. */
const RESERVE = 2 * 1024 ** 3;

/** Least space that a file takes on the disk, in bytes. */
const BLOCK = 4096;

/** After this time the venv on the volume is used. */
const TIMEOUT = Duration.minutes(1);

interface Copy {
  readonly source: SharedVenv;
  readonly venv: Venv;
  readonly archives: Archives;
  /** Copies what is linked because no job has imported it so far; ends when that is done. */
  readonly complete: Effect.Effect<void, DiskFault>;
}

/** Makes a copy of a venv on the local disk, which is removed with the worker; none if that fails or takes too much space. */
const copyMaker = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const disks = yield* DiskUsage;
  const venvs = yield* VenvBuilder;
  const archives = yield* PackageArchives;
  const completing = yield* completion;
  const scope = yield* Effect.scope;

  /** Whether a folder is on a disk of this machine and not read-only, as in some containers. */
  const isLocalDisk = Effect.fnUntraced(function* (folder: string) {
    const isElsewhere = (yield* isInMemory(folder)) || (yield* isOnNetwork(folder));
    return !isElsewhere && (yield* isWritable(files, folder));
  });

  const hasSpace = Effect.fnUntraced(function* (needed: Archives) {
    const { files: count, size } = totalOf(needed);
    if (count > MAX_FILES || !(yield* isLocalDisk(tmpdir()))) return false;
    const space = yield* disks.space(tmpdir());
    return Option.exists(space, ({ free }) => free >= size + count * BLOCK + RESERVE);
  });

  const make = Effect.fnUntraced(function* (
    source: SharedVenv,
    from: Archives,
    requirements: ReadonlyArray<string>,
  ) {
    const elapsed = yield* stopwatch;
    // Without a directory, it would be in memory or on the volume if the usual one can't be used.
    const folder = yield* files.makeTempDirectoryScoped({ directory: tmpdir(), prefix: PREFIX });
    const copy = { ...source.venv, prefix: folder, python: join(folder, "bin", "python") };
    yield* venvs.beginInstall(copy);
    const { start } = from;
    const first = start === undefined ? [...from.packages, from.others] : [start];
    yield* archives.unpack(source, first, folder);
    yield* archives.link(source.venv, (start ?? from).links, folder);
    yield* venvs.endInstall(copy, requirements);
    const seconds = Duration.toSeconds(yield* elapsed).toFixed(2);
    yield* Effect.logInfo(`Copied ${source.venv.prefix} to ${folder} in ${seconds} s`);
    const rest = yield* completing(source, from, folder);
    return { source, venv: copy, archives: from, ...rest } satisfies Copy;
  });

  return Effect.fn("LocalCopies.make")(function* (...given: Parameters<typeof make>) {
    if (!(yield* hasSpace(given[1]))) return Option.none<Copy>();
    const own = yield* Scope.fork(scope);
    return yield* make(...given).pipe(
      Scope.provide(own),
      Effect.timeout(TIMEOUT),
      Effect.tapErrorTag("DiskFault", forgettingMissing(archives, given[0].venv)),
      Effect.onError((cause) => Scope.close(own, Exit.failCause(cause))),
      Effect.asSome,
      Effect.catch(({ message }) =>
        Effect.as(
          Effect.logWarning(
            `Could not copy the virtual environment to the container's disk; using it on the volume. ${message}`,
          ),
          Option.none<Copy>(),
        ),
      ),
    );
  });
});

/**
 * Copies of virtual environments on the container's disk, one for each process. Python modules are copied, so what a job
 * edits reaches no other worker; large files of large packages are links.
 */
export class LocalCopies extends Context.Service<
  LocalCopies,
  {
    /** The copy of a venv, made if it is worth it; none if the venv itself should be used. */
    readonly copyOf: (source: SharedVenv) => Effect.Effect<Option.Option<Venv>>;
    /** What a venv is a copy of, if it is one. */
    readonly sourceOf: (venv: Venv) => Effect.Effect<Option.Option<SharedVenv>>;
    /** What a venv is a copy of, or the venv itself. */
    readonly originalOf: (venv: Venv) => Effect.Effect<Venv>;
    /** Copies what is still linked because no job has imported it. Must be called before packages are installed into a copy. */
    readonly complete: (copy: Venv) => Effect.Effect<void, DiskFault>;
    /** Whether jobs import more than the copy had at its start, so that the next one should be made of other archives. */
    readonly isOutdated: (copy: Venv) => Effect.Effect<boolean>;
    /** The copy is not used from now on, and not made again. */
    readonly discard: (copy: Venv) => Effect.Effect<void>;
  }
>()("worker-tetra/workspace/copies/LocalCopies") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const venvs = yield* VenvBuilder;
      const archives = yield* PackageArchives;
      const starts = yield* startArchives;
      const make = yield* copyMaker;
      const copies = yield* Ref.make<ReadonlyArray<Copy>>([]);

      const copyOf = Effect.fnUntraced(function* (source: SharedVenv) {
        const { prefix } = source.venv;
        const known = (yield* Ref.get(copies)).find(
          ({ source: { venv } }) => venv.prefix === prefix,
        );
        if (known !== undefined) {
          return (yield* venvs.isUsable(known.venv)) ? Option.some(known.venv) : Option.none();
        }
        if (!(yield* archives.isUsed(source.place))) return Option.none();
        const requirements = yield* venvs.requirements(source.venv);
        const from = yield* archives.current(source.venv, requirements);
        if (Option.isNone(from)) return Option.none();
        const made = yield* make(source, from.value, requirements);
        if (Option.isNone(made)) return Option.none();
        yield* Ref.update(copies, (all) => [...all, made.value]);
        return Option.some(made.value.venv);
      });

      const find = ({ prefix }: Venv) =>
        Effect.map(Ref.get(copies), (all) =>
          Option.fromUndefinedOr(all.find(({ venv }) => venv.prefix === prefix)),
        );
      const sourceOf = (venv: Venv) =>
        Effect.map(
          find(venv),
          Option.map(({ source }) => source),
        );

      return LocalCopies.of({
        copyOf,
        sourceOf,
        originalOf: (venv) =>
          Effect.map(
            sourceOf(venv),
            Option.match({ onNone: () => venv, onSome: (source) => source.venv }),
          ),
        complete: (copy) =>
          Effect.flatMap(
            find(copy),
            Option.match({ onNone: () => Effect.void, onSome: ({ complete }) => complete }),
          ),
        isOutdated: (copy) =>
          Effect.flatMap(
            find(copy),
            Option.match({
              onNone: () => Effect.succeed(false),
              onSome: ({ source, archives: from }) =>
                Effect.map(starts.isCurrent(source, from), Boolean.not),
            }),
          ),
        discard: venvs.invalidate,
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([
      PackageArchives.layer,
      VenvBuilder.layer,
      DiskUsage.layer,
      BackgroundWork.layer,
      StartProfile.layer,
      VolumeProcess.layer,
    ]),
    Layer.provide(safeFileSystem),
  );
}
