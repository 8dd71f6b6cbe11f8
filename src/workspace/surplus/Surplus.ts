import { dirname, join } from "node:path";

import { Context, Effect, FileSystem, Layer, Option } from "effect";

import { FileLock } from "../../platform/FileLock.ts";
import { diskFault, type DiskFault } from "../../platform/files/DiskFault.ts";
import { DiskUsage } from "../../platform/files/DiskUsage.ts";
import { removeFolder } from "../../platform/files/Removal.ts";
import { safeFileSystem } from "../../platform/files/SafeFileSystem.ts";
import type { Place } from "../../venv/Place.ts";
import { Volume, type VolumeNotWritable } from "../Volume.ts";
import { endpointSurplus } from "./EndpointSurplus.ts";
import { UvCache } from "./UvCache.ts";

/** Something on the volume that can be removed. */
export interface Surplus {
  readonly path: string;
  /** The parts that can be removed; everything if absent. */
  readonly parts?: ReadonlyArray<string>;
  /** Why nobody needs it. */
  readonly reason: string;
  /** In bytes; none where it takes too long to count. */
  readonly bytes: Option.Option<number>;
  /** Locks that its users hold. */
  readonly locks: ReadonlyArray<string>;
}

/** What no endpoint uses any more: found by when it was used last, removed only if nobody holds its locks. */
export class SurplusFinder extends Context.Service<
  SurplusFinder,
  {
    /** Where it is looked for; none where there is no volume. */
    readonly folder: Effect.Effect<Option.Option<string>>;
    /** Why the volume can't be used, if there is one. */
    readonly fault: Effect.Effect<Option.Option<VolumeNotWritable>>;
    /** Everything unused for this many days, and what is skipped, with the reason. */
    readonly find: (days: number) => Effect.Effect<{
      readonly found: ReadonlyArray<Surplus>;
      readonly skipped: ReadonlyArray<string>;
    }>;
    /** Removes it, unless somebody uses it at this moment: then false. */
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

      /** What can be removed of uv's cache, or why it is skipped. */
      const ofUvCache = Effect.fnUntraced(
        function* (cache: string) {
          const parts = yield* uvCache.unused(cache);
          const sizes = Option.all(yield* Effect.forEach(parts, disks.size));
          const surplus: Surplus = {
            path: cache,
            parts,
            reason: "packages in uv's cache that nothing refers to",
            bytes: Option.map(sizes, (all) => all.reduce((sum, bytes) => sum + bytes, 0)),
            locks: [uvCache.lockOf(cache)],
          };
          return { found: parts.length === 0 ? [] : [surplus], skipped: [] };
        },
        Effect.catch(({ message }) => Effect.succeed({ found: [], skipped: [message] })),
      );

      const find = Effect.fn("SurplusFinder.find")(function* (days: number) {
        const root = yield* folder;
        if (Option.isNone(root)) return { found: [], skipped: [] };
        const ofEndpoints = yield* endpointSurplus(files, root.value, days);
        const found = yield* Effect.forEach(ofEndpoints.found, (candidate) =>
          Effect.map(disks.size(candidate.path), (bytes) => ({ ...candidate, bytes })),
        );
        const ofCache = yield* ofUvCache(join(dirname(root.value), ".uv-cache"));
        return {
          found: [...found, ...ofCache.found],
          skipped: [...ofEndpoints.skipped, ...ofCache.skipped],
        };
      });

      const remove = Effect.fn("SurplusFinder.remove")(function* (surplus: Surplus) {
        for (const lock of surplus.locks) {
          // Where locks don't work nobody can tell who uses it.
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
