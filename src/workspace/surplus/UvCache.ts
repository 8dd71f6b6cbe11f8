import { basename, join } from "node:path";

import { Context, Effect, FileSystem, Layer, Option, Schema } from "effect";

import { isCache } from "../CacheTag.ts";

/** The cache must not be cleaned. */
class CacheSkipped extends Schema.TaggedError<CacheSkipped>()("CacheSkipped", {
  path: Schema.String,
  reason: Schema.String,
}) {
  override get message(): string {
    return `${this.path} ${this.reason}`;
  }
}

/** A folder of uv's cache for one kind of content, such as `wheels-v8`. */
interface Bucket {
  readonly name: string;
  readonly kind: string;
  readonly version: number;
}

const BUCKET = /^([a-z]+)-v(\d+)$/;

/** Kind of bucket with unpacked packages. */
const ARCHIVES = "archive";

/** Kinds of buckets with temporary files of uv. */
const SCRATCH = new Set(["builds", "environments"]);

const parseBucket = (folder: string): ReadonlyArray<Bucket> => {
  const [, kind = "", version = ""] = BUCKET.exec(folder) ?? [];
  return kind === "" ? [] : [{ name: folder, kind, version: Number(version) }];
};

/** The newest version of each kind of bucket, and the outdated ones, which only older versions of uv use. */
const splitByVersion = (buckets: ReadonlyArray<Bucket>) => {
  const isOutdated = ({ kind, version }: Bucket) =>
    buckets.some((other) => other.kind === kind && other.version > version);
  return {
    outdated: buckets.filter(isOutdated),
    current: buckets.filter((bucket) => !isOutdated(bucket)),
  };
};

const entriesOf = (files: FileSystem.FileSystem, folder: string) =>
  Effect.orElseSucceed(files.readDirectoryEntries(folder), () => []);

/** Names of subfolders, without links. */
const foldersIn = (files: FileSystem.FileSystem, folder: string) =>
  Effect.map(entriesOf(files, folder), (entries) =>
    entries.filter(({ type }) => type === "Directory").map(({ name }) => name),
  );

/** Paths of subfolders, without links. */
const subfolders = (files: FileSystem.FileSystem, folder: string) =>
  Effect.map(foldersIn(files, folder), (names) => names.map((name) => join(folder, name)));

/** Names of the targets of all links below a folder. Links are not followed. */
const referencesIn: (
  files: FileSystem.FileSystem,
  folder: string,
) => Effect.Effect<ReadonlyArray<string>> = Effect.fnUntraced(function* (files, folder) {
  const found: Array<string> = [];
  for (const { name, type } of yield* entriesOf(files, folder)) {
    const path = join(folder, name);
    if (type === "Directory") found.push(...(yield* referencesIn(files, path)));
    if (type !== "SymbolicLink") continue;
    const target = yield* Effect.option(files.readLink(path));
    if (Option.isSome(target)) found.push(basename(target.value));
  }
  return found;
});

/** Outdated buckets, unpacked packages that no other bucket links to, and temporary files. */
const unusedIn = Effect.fnUntraced(function* (files: FileSystem.FileSystem, cache: string) {
  const folders = yield* foldersIn(files, cache);
  const { outdated, current } = splitByVersion(folders.flatMap(parseBucket));
  const pathOf = ({ name }: Bucket) => join(cache, name);
  const contents = (buckets: ReadonlyArray<Bucket>) =>
    Effect.map(
      Effect.forEach(buckets, (bucket) => subfolders(files, pathOf(bucket))),
      (paths) => paths.flat(),
    );
  const referring = current.filter(({ kind }) => kind !== ARCHIVES && !SCRATCH.has(kind));
  const references = new Set(
    (yield* Effect.forEach(referring, (bucket) => referencesIn(files, pathOf(bucket)))).flat(),
  );
  const archives = yield* contents(current.filter(({ kind }) => kind === ARCHIVES));
  return [
    ...outdated.map(pathOf),
    ...archives.filter((folder) => !references.has(basename(folder))),
    ...(yield* contents(current.filter(({ kind }) => SCRATCH.has(kind)))),
  ];
});

/**
 * Finds what can be removed from uv's cache. `uv cache prune` is not used because it is not safe against links: another
 * endpoint could replace a folder by a link and make uv delete files elsewhere.
 */
export class UvCache extends Context.Service<
  UvCache,
  {
    /** The lock that uv holds while it uses the cache. */
    readonly lockOf: (cache: string) => string;
    /** Unreferenced folders; empty if there is no cache. Fails if the cache must not be changed. */
    readonly unused: (cache: string) => Effect.Effect<ReadonlyArray<string>, CacheSkipped>;
  }
>()("worker-tetra/workspace/UvCache") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;

      return UvCache.of({
        lockOf: (cache) => join(cache, ".lock"),
        unused: Effect.fn("UvCache.unused")(function* (cache) {
          const info = yield* Effect.option(files.lstat(cache));
          if (Option.isNone(info)) return [];
          const skipped = (reason: string) => new CacheSkipped({ path: cache, reason });
          if (info.value.type !== "Directory") {
            return yield* skipped("is not a folder (links are not followed)");
          }
          if (!(yield* Effect.orElseSucceed(isCache(files, cache), () => false))) {
            return yield* skipped(
              "has no CACHEDIR.TAG, so it may not be uv's cache. If it is, run uv with this cache once to add the file",
            );
          }
          return yield* unusedIn(files, cache);
        }),
      });
    }),
  );
}
