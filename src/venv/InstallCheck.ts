import { dirname, join } from "node:path";

import { Context, Duration, Effect, FileSystem, Layer, Result, Schema } from "effect";

import { DiskFault, isFullDisk } from "../platform/files/DiskFault.ts";
import { safeFileSystem } from "../platform/files/SafeFileSystem.ts";
import { FileLock } from "../platform/locks/FileLock.ts";
import { VolumeProcess } from "../platform/volume/VolumeProcess.ts";
import { Environment } from "../settings/Environment.ts";
import { INSTALLING, sitePackages, type Venv } from "./Venv.ts";
import { uvArchives } from "./uv/UvArchives.ts";

/** Maximum time without progress while thousands of files are examined. */
const DEADLINE = Duration.minutes(1);

const Damages = Schema.Array(
  Schema.Struct({
    /** The name of its `.dist-info` folder. */
    package: Schema.String,
    /** A file that is shorter than the package's RECORD says. */
    file: Schema.String,
    isEmpty: Schema.Boolean,
  }),
);

/** An install reported success, but left empty files. */
export class InstallDamaged extends Schema.TaggedError<InstallDamaged>()("InstallDamaged", {
  /** The names of the packages' `.dist-info` folders. */
  packages: Schema.Array(Schema.String),
  /** One of the files. */
  file: Schema.String,
}) {
  override get message(): string {
    const names = this.packages.map((name) => name.replace(/\.dist-info$/, "")).join(", ");
    return `Files of ${names} are empty after the install (such as ${this.file}), maybe because the disk was full for some time. Run the job again. If that fails too, delete uv's cache.`;
  }
}

/** Whether an install may succeed without uv's cache, which may be damaged or take up the space that is missing. */
export const needsRetryWithoutCache = (error: unknown): boolean =>
  error instanceof InstallDamaged || isFullDisk(error);

type Installed = Pick<Venv, "prefix" | "version">;

/** An install into a virtual environment that has begun. */
export interface WatchedInstall {
  /** Fails if installed files are incomplete. */
  readonly verify: Effect.Effect<void, DiskFault | InstallDamaged>;
  /** Replaces the error of the install if it failed because the volume is full, and removes what it left in the cache. */
  readonly explain: <A, E, R>(
    install: Effect.Effect<A, E, R>,
  ) => Effect.Effect<A, E | DiskFault, R>;
  /** Removes what the failed install added. False if the virtual environment may be damaged. */
  readonly undo: Effect.Effect<boolean>;
}

/** Local disks report errors to uv, so nothing needs to be checked there. */
const UNWATCHED: WatchedInstall = {
  verify: Effect.void,
  explain: (install) => install,
  undo: Effect.succeed(false),
};

/** Checks of the volume's disk and files. */
const checksOf = ({ request }: VolumeProcess["Service"]) => {
  const probe = (folder: string) =>
    Effect.mapError(
      request("files.probe", { path: folder }, Schema.Null),
      ({ code, detail }) =>
        new DiskFault({ path: folder, code, problem: "can't be written to", detail }),
    );

  const verify = Effect.fnUntraced(function* (
    folder: string,
    before: ReadonlyArray<string>,
    usesCache: boolean,
  ) {
    const options = { deadline: DEADLINE };
    const damages = yield* request("venv.verify", { folder, before }, Damages, options);
    if (damages.length === 0) return;
    yield* probe(folder);
    const empty = damages.find(({ isEmpty }) => isEmpty);
    if (usesCache && empty !== undefined) {
      const packages = damages.map((damage) => damage.package);
      return yield* new InstallDamaged({ packages, file: empty.file });
    }
    // On a disk that is not full, a file that could not be written is empty. The others are as they were downloaded.
    const names = damages.map(({ file }) => file).join(", ");
    yield* Effect.logDebug(`Shorter than the RECORD of their package says: ${names}`);
  });

  const restore = (args: { readonly prefix: string; readonly [name: string]: unknown }) =>
    Effect.catch(request("venv.restore", args, Schema.Boolean, { deadline: DEADLINE }), (error) =>
      Effect.as(
        Effect.logWarning(
          `${args.prefix} may be incomplete after a failed install. ${error.message}`,
        ),
        false,
      ),
    );

  return { probe, verify, restore };
};

/**
 * Checks installs on the network volume. A full volume often reports that only when a file is closed. uv ignores that,
 * so files may be empty, in the virtual environment and in uv's cache.
 */
export class InstallCheck extends Context.Service<
  InstallCheck,
  {
    /** To be called before an install with these environment variables. Fails if the volume is full. */
    readonly watch: (
      venv: Installed,
      environment: Readonly<Record<string, string>>,
    ) => Effect.Effect<WatchedInstall, DiskFault>;
    /**
     * Whether uv's cache with these environment variables is on a full volume. Then uv may fail for reasons that do not
     * report it: it also runs a script from its cache, which is empty if it could not be written.
     */
    readonly isCacheFull: (environment: Readonly<Record<string, string>>) => Effect.Effect<boolean>;
  }
>()("worker-tetra/venv/InstallCheck") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const volume = yield* VolumeProcess;
      const { forPrograms } = yield* Environment;
      const archives = yield* uvArchives;
      const { probe, verify, restore } = checksOf(volume);

      /** The cache that uv uses with these variables, if it is on the volume. */
      const cacheIn = (environment: Readonly<Record<string, string>>) => {
        const { UV_CACHE_DIR: cache, UV_NO_CACHE: isOff } = { ...forPrograms, ...environment };
        return isOff === undefined && cache !== undefined && volume.contains(cache)
          ? cache
          : undefined;
      };

      const watch = Effect.fn("InstallCheck.watch")(function* (
        { prefix, version }: Installed,
        environment: Readonly<Record<string, string>>,
      ): Effect.fn.Return<WatchedInstall, DiskFault> {
        if (!volume.contains(prefix)) return UNWATCHED;
        const disk = dirname(prefix);
        yield* probe(disk);
        const cache = cacheIn(environment);
        const archived = cache === undefined ? [] : yield* archives.list(cache);
        const folder = sitePackages(prefix, version);
        const before = yield* Effect.orElseSucceed(files.readDirectory(folder), () => []);

        const explained = Effect.fnUntraced(function* <E>(error: E) {
          const probed = yield* Effect.result(probe(disk));
          const isFull = Result.isFailure(probed) && isFullDisk(probed.failure);
          const fault = isFull ? probed.failure : error;
          const packages = error instanceof InstallDamaged ? error.packages : [];
          if (cache !== undefined && needsRetryWithoutCache(fault)) {
            // It may be damaged, and takes up the space of a retry.
            yield* archives.discard(cache, archived, packages);
          }
          return yield* Effect.fail(fault);
        });

        return {
          verify: verify(folder, before, environment["UV_NO_CACHE"] === undefined),
          explain: (install) => Effect.catch(install, explained),
          undo: restore({ prefix, folder, before, marker: join(prefix, INSTALLING) }),
        };
      });

      const isCacheFull = Effect.fn("InstallCheck.isCacheFull")(function* (
        environment: Readonly<Record<string, string>>,
      ) {
        const cache = cacheIn(environment);
        if (cache === undefined) return false;
        return yield* Effect.match(probe(cache), { onSuccess: () => false, onFailure: isFullDisk });
      });

      return InstallCheck.of({ watch, isCacheFull });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([VolumeProcess.layer, FileLock.layer]),
    Layer.provide(safeFileSystem),
  );
}
