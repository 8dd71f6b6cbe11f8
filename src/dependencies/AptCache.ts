import { createHash, randomUUID } from "node:crypto";

import {
  Context,
  Effect,
  FileSystem,
  Layer,
  Option,
  Path,
  type PlatformError,
  Stream,
} from "effect";

import { wallMillis } from "../settings/SteadyClock.ts";
import { type ProgramFailed, Programs } from "../workspace/Programs.ts";
import { Volume } from "../workspace/Volume.ts";

/** Lists older than this may name versions that mirrors have dropped, in milliseconds. */
export const LISTS_AGE = 24 * 60 * 60 * 1000;

/** A package's file that apt is going to need. */
export interface Archive {
  readonly file: string;
  /** In bytes. */
  readonly size: number;
  /** Of its content, in hexadecimal digits. */
  readonly sha256: string;
}

/** The line of a variable in os-release(5), with or without quotes. */
const valueOf = (text: string, name: string): string =>
  new RegExp(`^${name}="?([\\w.-]+)"?$`, "m").exec(text)?.[1] ?? "unknown";

/**
 * What apt fetched, kept on the network volume for the containers to come. apt itself works on the container's
 * disk, where its locks and renames cost nothing; what goes wrong here is logged and costs only time.
 */
export class AptCache extends Context.Service<
  AptCache,
  {
    /** Gives apt the volume's package lists, if those are not old. */
    readonly restoreLists: (lists: string) => Effect.Effect<void>;
    readonly keepLists: (lists: string) => Effect.Effect<void>;
    /** Puts those archives into a folder that the volume has whole. */
    readonly restore: (archives: ReadonlyArray<Archive>, folder: string) => Effect.Effect<void>;
    /** Keeps the archives of a folder. */
    readonly keep: (folder: string) => Effect.Effect<void>;
  }
>()("worker-tetra/dependencies/AptCache") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const programs = yield* Programs;
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const volume = yield* Volume;

      /** Does something in the folder of this release of the distribution; nothing where there is no volume. */
      const inCache = (
        use: (folder: string) => Effect.Effect<void, PlatformError.PlatformError | ProgramFailed>,
      ) =>
        Effect.gen(function* () {
          const place = yield* volume.shared;
          if (Option.isNone(place)) return;
          const release = yield* files.readFileString("/etc/os-release");
          const name = `${valueOf(release, "ID")}-${valueOf(release, "VERSION_ID")}-${process.arch}`;
          yield* use(path.join(place.value.caches, ".apt-cache", name));
        }).pipe(
          Effect.catch((error) =>
            Effect.logWarning(`apt's cache on the volume is not used: ${error.message}`),
          ),
        );

      /** Makes a file under another name first, so that nobody ever finds half of it. */
      const publish = <E>(file: string, make: (aside: string) => Effect.Effect<unknown, E>) => {
        const aside = `${file}.${randomUUID()}`;
        return files.makeDirectory(path.dirname(file), { recursive: true }).pipe(
          Effect.andThen(make(aside)),
          Effect.andThen(files.rename(aside, file)),
          Effect.onError(() => Effect.ignore(files.remove(aside))),
        );
      };

      const listsIn = (folder: string) => path.join(folder, "lists.tar");
      const archivesIn = (folder: string) => path.join(folder, "archives");

      const restoreLists = (lists: string) =>
        inCache(
          Effect.fnUntraced(function* (folder) {
            const kept = yield* Effect.option(files.stat(listsIn(folder)));
            const now = yield* wallMillis;
            const time = Option.flatMap(kept, ({ mtime }) => mtime);
            if (!Option.exists(time, (date) => now - date.getTime() < LISTS_AGE)) return;
            yield* files.makeDirectory(lists, { recursive: true });
            yield* programs.run("tar", ["-xf", listsIn(folder), "-C", lists]);
          }),
        );

      const keepLists = (lists: string) =>
        inCache((folder) =>
          publish(listsIn(folder), (aside) =>
            programs.run("tar", ["-cf", aside, "--exclude=./lock", "-C", lists, "."]),
          ),
        );

      const digestOf = Effect.fnUntraced(function* (file: string) {
        const hash = createHash("sha256");
        yield* Stream.runForEach(files.stream(file), (part) =>
          Effect.sync(() => hash.update(part)),
        );
        return hash.digest("hex");
      });

      const restore = (archives: ReadonlyArray<Archive>, target: string) =>
        inCache(
          Effect.fnUntraced(function* (folder) {
            for (const { file, size, sha256 } of archives) {
              const kept = path.join(archivesIn(folder), file);
              const found = yield* Effect.option(files.stat(kept));
              if (!Option.exists(found, (info) => Number(info.size) === size)) continue;
              const copy = path.join(target, file);
              yield* files.copyFile(kept, copy);
              // apt looks at the size alone of what it finds.
              if ((yield* digestOf(copy)) !== sha256) yield* files.remove(copy);
            }
          }),
        );

      const keep = (source: string) =>
        inCache(
          Effect.fnUntraced(function* (folder) {
            for (const file of yield* files.readDirectory(source)) {
              if (!file.endsWith(".deb")) continue;
              const kept = path.join(archivesIn(folder), file);
              if (yield* files.exists(kept)) continue;
              yield* publish(kept, (aside) => files.copyFile(path.join(source, file), aside));
            }
          }),
        );

      return AptCache.of({ restoreLists, keepLists, restore, keep });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([Programs.layer, Volume.layer]));
}
