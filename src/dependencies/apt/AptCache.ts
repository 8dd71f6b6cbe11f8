import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

import { Context, Effect, FileSystem, Layer, Option, type PlatformError } from "effect";

import { replaceAtomically } from "../../platform/files/AtomicFile.ts";
import { makeCache } from "../../workspace/CacheTag.ts";
import { Volume } from "../../workspace/Volume.ts";

/** The file of a package that apt installs. */
export interface Archive {
  readonly file: string;
  /** In bytes. */
  readonly size: number;
  /** In hexadecimal digits. */
  readonly sha256: string;
}

/** The SHA-256 digest of a file in hexadecimal digits. */
const digestOf = (file: string) =>
  Effect.tryPromise(async () => {
    const hash = createHash("sha256");
    await pipeline(createReadStream(file), hash);
    return hash.digest("hex");
  });

/** The value of a variable in os-release(5), with or without quotes. */
const valueOf = (text: string, name: string): string =>
  new RegExp(`^${name}="?([\\w.-]+)"?$`, "m").exec(text)?.[1] ?? "unknown";

/** The name of the cache's folder on the volume. */
const CACHE = ".apt-cache";

/** The name of the folder for this release of the distribution. */
const releaseOf = (osRelease: string): string =>
  `${valueOf(osRelease, "ID")}-${valueOf(osRelease, "VERSION_ID")}-${process.arch}`;

/** The folder of archives on the volume; none without a volume, or if any folder of its path is a link. */
const findFolder = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  volume: Volume["Service"],
) {
  const place = yield* volume.shared;
  if (Option.isNone(place)) return Option.none<string>();
  const release = releaseOf(yield* files.readFileString("/etc/os-release"));
  let folder = yield* files.realPath(place.value.caches);
  yield* Effect.ignore(makeCache(files, join(folder, CACHE)));
  for (const part of [CACHE, release, "archives"]) {
    folder = join(folder, part);
    yield* Effect.ignore(files.makeDirectory(folder));
    if ((yield* files.realPath(folder)) === folder) continue;
    yield* Effect.logWarning(`Ignoring the apt cache on the volume: ${folder} is a link`);
    return Option.none<string>();
  }
  return Option.some(folder);
});

/**
 * Copies an archive from the volume to a new file; false if the copy has another size or digest. Other endpoints can
 * replace the archive at any time, so the copy is checked.
 */
const restoreArchive = Effect.fnUntraced(
  function* (
    files: FileSystem.FileSystem,
    cached: string,
    target: string,
    { size, sha256 }: Archive,
  ) {
    const info = yield* files.lstat(cached);
    if (info.type !== "File" || Number(info.size) !== size) return false;
    yield* files.copyFile(cached, target);
    return (yield* digestOf(target)) === sha256;
  },
  Effect.orElseSucceed(() => false),
  (restored, files, _, target) =>
    Effect.tap(restored, (isIntact) =>
      isIntact ? Effect.void : files.remove(target, { force: true }),
    ),
);

/**
 * Stores archives that apt downloaded on the network volume for later containers. Other endpoints can write to the
 * volume, so only archives with the digests in the signed lists are used. apt itself uses the container's disk, where
 * locks and renames are fast. Errors of the cache are logged and do not fail an install.
 */
export class AptCache extends Context.Service<
  AptCache,
  {
    /** Copies the archives that are on the volume into a folder. */
    readonly restore: (archives: ReadonlyArray<Archive>, folder: string) => Effect.Effect<void>;
    /** Copies the archives of a folder to the volume. */
    readonly store: (folder: string) => Effect.Effect<void>;
  }
>()("worker-tetra/dependencies/apt/AptCache") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const volume = yield* Volume;

      /** Runs `use` with the folder of archives if there is one. */
      const inCache = (use: (folder: string) => Effect.Effect<void, PlatformError.PlatformError>) =>
        findFolder(files, volume).pipe(
          Effect.flatMap(Option.match({ onNone: () => Effect.void, onSome: use })),
          Effect.catch((error) =>
            Effect.logWarning(`Ignoring the apt cache on the volume: ${error.message}`),
          ),
        );

      const restore = (archives: ReadonlyArray<Archive>, target: string) =>
        inCache(
          Effect.fnUntraced(function* (folder) {
            for (const archive of archives) {
              const cached = join(folder, archive.file);
              if (yield* restoreArchive(files, cached, join(target, archive.file), archive))
                continue;
              // Deletes the unusable archive, so that the downloaded one can be stored.
              yield* Effect.ignore(files.remove(cached));
            }
          }),
        );

      const store = (source: string) =>
        inCache(
          Effect.fnUntraced(function* (folder) {
            for (const file of yield* files.readDirectory(source)) {
              if (!file.endsWith(".deb")) continue;
              const cached = join(folder, file);
              if (yield* files.exists(cached)) continue;
              yield* replaceAtomically(files, cached, (temporary) =>
                files.copyFile(join(source, file), temporary),
              );
            }
          }),
        );

      return AptCache.of({ restore, store });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(Volume.layer));
}
