import { Context, Effect, FileSystem, Layer, Option, Path, Schema } from "effect";

import { isCache } from "./CacheTag.ts";

/** A cache exists, but must not be cleaned. */
class CacheSkipped extends Schema.TaggedError<CacheSkipped>()("CacheSkipped", {
  path: Schema.String,
  reason: Schema.String,
}) {
  override get message(): string {
    return `${this.path} ${this.reason}`;
  }
}

/** uv's folders have a version in their names, such as `wheels-v8`. */
const BUCKET = /^([a-z]+)-v(\d+)$/;

/** Unpacked packages. */
const ARCHIVES = "archive";

/** Folders for uv's temporary files. */
const SCRATCH = new Set(["builds", "environments"]);

/**
 * Finds what can be removed from uv's cache. `uv cache prune` works with plain paths, so another endpoint could swap
 * a folder for a link and make it delete files elsewhere; the worker's own removal follows no links.
 */
export class UvCache extends Context.Service<
  UvCache,
  {
    /** The lock that uv holds while it uses the cache. */
    readonly lockOf: (cache: string) => string;
    /** Folders that nothing refers to; none if there is no cache. Fails for a cache that must not be changed. */
    readonly unused: (cache: string) => Effect.Effect<ReadonlyArray<string>, CacheSkipped>;
  }
>()("worker-tetra/workspace/UvCache") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;

      const entriesOf = (folder: string) =>
        Effect.orElseSucceed(files.readDirectoryEntries(folder), () => []);

      const foldersIn = (folder: string) =>
        Effect.map(entriesOf(folder), (entries) =>
          entries.filter(({ type }) => type === "Directory").map(({ name }) => name),
        );

      /** The names of the targets of all links below a folder. No link is followed. */
      const referencesIn: (folder: string) => Effect.Effect<ReadonlyArray<string>> =
        Effect.fnUntraced(function* (folder) {
          const found: Array<string> = [];
          for (const { name, type } of yield* entriesOf(folder)) {
            const where = path.join(folder, name);
            if (type === "Directory") found.push(...(yield* referencesIn(where)));
            if (type !== "SymbolicLink") continue;
            const target = yield* Effect.option(files.readLink(where));
            if (Option.isSome(target)) found.push(path.basename(target.value));
          }
          return found;
        });

      const collect = Effect.fnUntraced(function* (cache: string) {
        const buckets = (yield* foldersIn(cache)).flatMap((name) => {
          const [, kind = "", version = ""] = BUCKET.exec(name) ?? [];
          return kind === "" ? [] : [{ name, kind, version: Number(version) }];
        });
        const isOutdated = ({ kind, version }: (typeof buckets)[number]) =>
          buckets.some((other) => other.kind === kind && other.version > version);
        const outdated = buckets.filter(isOutdated).map(({ name }) => path.join(cache, name));
        const current = buckets.filter((bucket) => !isOutdated(bucket));
        const inBuckets = (isMeant: (kind: string) => boolean) =>
          Effect.map(
            Effect.forEach(
              current.filter(({ kind }) => isMeant(kind)),
              ({ name }) =>
                Effect.map(foldersIn(path.join(cache, name)), (names) =>
                  names.map((one) => path.join(cache, name, one)),
                ),
            ),
            (folders) => folders.flat(),
          );
        const referred = new Set(
          (yield* Effect.forEach(
            current.filter(({ kind }) => kind !== ARCHIVES && !SCRATCH.has(kind)),
            ({ name }) => referencesIn(path.join(cache, name)),
          )).flat(),
        );
        const archives = (yield* inBuckets((kind) => kind === ARCHIVES)).filter(
          (folder) => !referred.has(path.basename(folder)),
        );
        return [...outdated, ...archives, ...(yield* inBuckets((kind) => SCRATCH.has(kind)))];
      });

      return UvCache.of({
        lockOf: (cache) => path.join(cache, ".lock"),
        unused: Effect.fn("UvCache.unused")(function* (cache) {
          const info = yield* Effect.option(files.lstat(cache));
          if (Option.isNone(info)) return [];
          const skipped = (reason: string) => new CacheSkipped({ path: cache, reason });
          if (info.value.type !== "Directory") {
            return yield* skipped("is not a folder (links are not followed)");
          }
          const isTagged = yield* Effect.orElseSucceed(isCache(files, cache), () => false);
          if (!isTagged) {
            return yield* skipped(
              "has no CACHEDIR.TAG, so it may be something else than uv's cache. If it is one, any run of uv with it adds the file",
            );
          }
          return yield* collect(cache);
        }),
      });
    }),
  );
}
