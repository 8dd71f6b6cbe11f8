import { dirname, join } from "node:path";

import { Context, Effect, FileSystem, Layer, Number, Option } from "effect";

import { diskFault, type DiskFault } from "../../platform/files/DiskFault.ts";
import { DiskUsage } from "../../platform/files/DiskUsage.ts";
import { removeFolder } from "../../platform/files/Removal.ts";
import { safeFileSystem } from "../../platform/files/SafeFileSystem.ts";
import { FileLock } from "../../platform/locks/FileLock.ts";
import type { Place } from "../../venv/Place.ts";
import { Volume, type VolumeNotWritable } from "../Volume.ts";
import { ARCHIVES } from "../copies/PackageArchives.ts";
import { archiveSurplus } from "./ArchiveSurplus.ts";
import { compileSurplus } from "./CompileCaches.ts";
import { endpointSurplus } from "./EndpointSurplus.ts";
import { viewSurplus } from "./ModelViews.ts";
import { UvCache } from "./UvCache.ts";

/** A folder on the volume that can be removed, or parts of it. */
export interface Surplus {
  readonly path: string;
  /** The parts that can be removed; the whole folder if absent. */
  readonly parts?: ReadonlyArray<string>;
  /** Why it can be removed. */
  readonly reason: string;
  /** Size in bytes; none if measuring takes too long. */
  readonly bytes: Option.Option<number>;
  /** Locks that workers hold while they use it. */
  readonly locks: ReadonlyArray<string>;
}

/** What can be removed of a folder, or why it is skipped. */
const ofParts = <E extends { readonly message: string }>(
  disks: DiskUsage["Service"],
  finding: Effect.Effect<ReadonlyArray<string>, E>,
  surplus: Omit<Surplus, "parts" | "bytes">,
) =>
  Effect.gen(function* () {
    const parts = yield* finding;
    const sizes = Option.all(yield* Effect.forEach(parts, disks.size));
    const found: Surplus = { ...surplus, parts, bytes: Option.map(sizes, Number.sumAll) };
    return { found: parts.length === 0 ? [] : [found], skipped: [] };
  }).pipe(Effect.catch(({ message }) => Effect.succeed({ found: [], skipped: [message] })));

/** Finds folders that no endpoint has used for some time. Removes them only if no worker holds their locks. */
export class SurplusFinder extends Context.Service<
  SurplusFinder,
  {
    /** The folder of all workspaces; none if there is no volume. */
    readonly folder: Effect.Effect<Option.Option<string>>;
    /** Why the volume can't be used, if it exists. */
    readonly fault: Effect.Effect<Option.Option<VolumeNotWritable>>;
    /** Everything unused for this many days, and messages about skipped entries. */
    readonly find: (days: number) => Effect.Effect<{
      readonly found: ReadonlyArray<Surplus>;
      readonly skipped: ReadonlyArray<string>;
    }>;
    /** False if it was not removed because a worker uses it. */
    readonly remove: (surplus: Surplus) => Effect.Effect<boolean, DiskFault>;
  }
>()("worker-tetra/workspace/SurplusFinder") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const locks = yield* FileLock;
      const disks = yield* DiskUsage;
      const volume = yield* Volume;
      const uvCache = yield* UvCache;

      const folder = Effect.map(
        Effect.orElseSucceed(volume.shared, Option.none<Place>),
        Option.map(({ caches }) => join(caches, "runtimes")),
      );

      const withSize = <A extends { readonly path: string }>(candidate: A) =>
        Effect.map(disks.size(candidate.path), (bytes) => ({ ...candidate, bytes }));

      const find = Effect.fn("SurplusFinder.find")(function* (days: number) {
        const root = yield* folder;
        if (Option.isNone(root)) return { found: [], skipped: [] };
        const caches = dirname(root.value);
        const ofEndpoints = yield* endpointSurplus(files, root.value, days);
        const kernels = yield* compileSurplus(files, caches, days);
        const views = yield* viewSurplus(files, caches, days);
        const found = yield* Effect.forEach([...ofEndpoints.found, ...kernels, ...views], withSize);
        const cache = join(caches, ".uv-cache");
        const ofCache = yield* ofParts(disks, uvCache.unused(cache), {
          path: cache,
          reason: "unreferenced packages in uv's cache",
          locks: [uvCache.lockOf(cache)],
        });
        const archives = yield* ofParts(disks, archiveSurplus(files, root.value, caches, days), {
          path: join(caches, ARCHIVES),
          reason: "archives of packages that no virtual environment has",
          locks: [],
        });
        return {
          found: [...found, ...ofCache.found, ...archives.found],
          skipped: [...ofEndpoints.skipped, ...ofCache.skipped, ...archives.skipped],
        };
      });

      const remove = Effect.fn("SurplusFinder.remove")(function* (surplus: Surplus) {
        for (const lock of surplus.locks) {
          // Where locks don't work, it may be in use.
          const held = yield* Effect.orElseSucceed(locks.tryLock(lock, "exclusive"), Option.none);
          if (Option.isNone(held)) return false;
        }
        const { path, parts = [path] } = surplus;
        yield* Effect.forEach(parts, (part) => removeFolder(files, part), { discard: true }).pipe(
          Effect.mapError(diskFault(path, "can't be removed")),
        );
        return true;
      }, Effect.scoped);

      return SurplusFinder.of({
        folder,
        fault: Effect.match(volume.shared, { onSuccess: Option.none, onFailure: Option.some }),
        find,
        remove,
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([FileLock.layer, DiskUsage.layer, Volume.layer, UvCache.layer]),
    Layer.provide(safeFileSystem),
  );
}
