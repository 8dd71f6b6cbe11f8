import { createHash, randomUUID } from "node:crypto";
import { constants, createWriteStream } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";

import { Context, Effect, FileSystem, Layer, Option, Path, type PlatformError } from "effect";

import { makeCache } from "../../workspace/CacheTag.ts";
import { Volume } from "../../workspace/Volume.ts";

/** A package's file that apt is going to need. */
export interface Archive {
  readonly file: string;
  /** In bytes. */
  readonly size: number;
  /** Of its content, in hexadecimal digits. */
  readonly sha256: string;
}

/**
 * Copies a regular file of a known size, and returns the digest of the copied bytes. Others can replace the file at
 * any moment, so it is opened only once, without following a link or blocking on a named pipe.
 */
const copyOf = (from: string, to: string, size: number) =>
  Effect.acquireUseRelease(
    Effect.tryPromise(() =>
      open(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK),
    ),
    (handle) =>
      Effect.tryPromise(async () => {
        const found = await handle.stat();
        if (!found.isFile() || found.size !== size) return undefined;
        const hash = createHash("sha256");
        await pipeline(
          handle.createReadStream({ end: size - 1 }),
          async function* (parts: AsyncIterable<Buffer>) {
            for await (const part of parts) {
              hash.update(part);
              yield part;
            }
          },
          createWriteStream(to, { flags: "wx" }),
        );
        return hash.digest("hex");
      }),
    (handle) => Effect.promise(() => handle.close()),
  );

/** The line of a variable in os-release(5), with or without quotes. */
const valueOf = (text: string, name: string): string =>
  new RegExp(`^${name}="?([\\w.-]+)"?$`, "m").exec(text)?.[1] ?? "unknown";

/** The folder of the cache, beside those of other caches. */
const CACHE = ".apt-cache";

/**
 * Keeps archives that apt downloaded on the network volume for later containers. Other endpoints can write to the
 * volume, so only archives with the digests in the signed lists are used. apt itself works on the container's disk,
 * where locks and renames are fast; an error of the cache is logged and only costs time.
 */
export class AptCache extends Context.Service<
  AptCache,
  {
    /** Puts those archives into a folder that the volume has whole. */
    readonly restore: (archives: ReadonlyArray<Archive>, folder: string) => Effect.Effect<void>;
    /** Keeps the archives of a folder. */
    readonly keep: (folder: string) => Effect.Effect<void>;
  }
>()("worker-tetra/dependencies/apt/AptCache") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const volume = yield* Volume;

      /**
       * Runs `use` with the folder of archives for this release of the distribution; does nothing without a volume,
       * or if the folder is behind a link.
       */
      const inCache = (use: (folder: string) => Effect.Effect<void, PlatformError.PlatformError>) =>
        Effect.gen(function* () {
          const place = yield* volume.shared;
          if (Option.isNone(place)) return;
          const release = yield* files.readFileString("/etc/os-release");
          const name = `${valueOf(release, "ID")}-${valueOf(release, "VERSION_ID")}-${process.arch}`;
          let folder = yield* files.realPath(place.value.caches);
          yield* Effect.ignore(makeCache(files, path.join(folder, CACHE)));
          for (const part of [CACHE, name, "archives"]) {
            folder = path.join(folder, part);
            yield* Effect.ignore(files.makeDirectory(folder));
            if ((yield* files.realPath(folder)) === folder) continue;
            return yield* Effect.logWarning(
              `Ignoring apt's cache on the volume: ${folder} is a link`,
            );
          }
          yield* use(folder);
        }).pipe(
          Effect.catch((error) =>
            Effect.logWarning(`Ignoring apt's cache on the volume: ${error.message}`),
          ),
        );

      /** Creates a file atomically: under another name first, then renamed. */
      const publish = <E>(file: string, make: (aside: string) => Effect.Effect<unknown, E>) => {
        const aside = `${file}.${randomUUID()}`;
        return make(aside).pipe(
          Effect.andThen(files.rename(aside, file)),
          Effect.onError(() => Effect.ignore(files.remove(aside))),
        );
      };

      /** Copies an archive from the volume; false if the volume does not have exactly this archive. */
      const restoreOne = Effect.fnUntraced(function* (kept: string, target: string, of: Archive) {
        const copied = yield* Effect.option(copyOf(kept, target, of.size));
        if (Option.contains(copied, of.sha256)) return true;
        yield* files.remove(target, { force: true });
        return false;
      });

      const restore = (archives: ReadonlyArray<Archive>, target: string) =>
        inCache(
          Effect.fnUntraced(function* (folder) {
            for (const archive of archives) {
              const kept = path.join(folder, archive.file);
              if (yield* restoreOne(kept, path.join(target, archive.file), archive)) continue;
              // Makes room for the archive that apt downloads instead.
              yield* Effect.ignore(files.remove(kept));
            }
          }),
        );

      const keep = (source: string) =>
        inCache(
          Effect.fnUntraced(function* (folder) {
            for (const file of yield* files.readDirectory(source)) {
              if (!file.endsWith(".deb")) continue;
              const kept = path.join(folder, file);
              if (yield* files.exists(kept)) continue;
              yield* publish(kept, (aside) => files.copyFile(path.join(source, file), aside));
            }
          }),
        );

      return AptCache.of({ restore, keep });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(Volume.layer));
}
