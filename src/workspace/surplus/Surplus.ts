import { Context, Effect, FileSystem, Layer, Option, Path } from "effect";

import { FileLock } from "../platform/FileLock.ts";
import { diskFault, type DiskFault } from "../platform/files/DiskFault.ts";
import { DiskUsage } from "../platform/files/DiskUsage.ts";
import { lockOf, REMOVING, removeWhole } from "../platform/files/Removal.ts";
import { safeFileSystem } from "../platform/files/SafeFileSystem.ts";
import { wallMillis } from "../settings/SteadyClock.ts";
import type { Place } from "../venv/Place.ts";
import { BUILDING, parseVenvName } from "../venv/VenvNames.ts";
import { LAST_START } from "./LastStart.ts";
import { UvCache } from "./UvCache.ts";
import { Volume, type VolumeNotWritable } from "./Volume.ts";

const DAY = 24 * 60 * 60 * 1000;

/** What is half made or half removed is nobody's after this: days. */
const ABANDONED = 1;

/** Something on the volume that can go. */
export interface Surplus {
  readonly path: string;
  /** The parts that can be removed; everything if absent. */
  readonly parts?: ReadonlyArray<string>;
  /** Why nobody misses it. */
  readonly reason: string;
  /** In bytes; none where it is too much to be counted soon. */
  readonly bytes: Option.Option<number>;
  /** Locks that whoever uses it holds. */
  readonly locks: ReadonlyArray<string>;
}

/** What no endpoint uses any more: found by when it was used last, removed only where nobody holds it. */
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
      const path = yield* Path.Path;
      const locks = yield* FileLock;
      const disks = yield* DiskUsage;
      const volume = yield* Volume;
      const uvCache = yield* UvCache;

      const isFolder = (where: string) =>
        Effect.orElseSucceed(
          Effect.map(files.lstat(where), ({ type }) => type === "Directory"),
          () => false,
        );

      const folder = Effect.map(
        Effect.orElseSucceed(volume.shared, Option.none<Place>),
        Option.map(({ caches }) => path.join(caches, "runtimes")),
      );

      /** Targets of links are neither read nor removed. */
      const namesIn = Effect.fnUntraced(function* (where: string) {
        if (!(yield* isFolder(where))) return [];
        return yield* Effect.orElseSucceed(
          files.readDirectory(where),
          (): ReadonlyArray<string> => [],
        );
      });

      /** Days since something was written, by the newest of some files; none where there are none. */
      const idle = Effect.fnUntraced(function* (paths: ReadonlyArray<string>) {
        const now = yield* wallMillis;
        const times = yield* Effect.forEach(paths, (one) =>
          Effect.option(Effect.map(files.lstat(one), ({ mtime }) => mtime)),
        );
        const newest = Math.max(
          ...times.flatMap((time) =>
            Option.toArray(Option.map(Option.flatten(time), (date) => date.getTime())),
          ),
        );
        return Number.isFinite(newest) ? Option.some((now - newest) / DAY) : Option.none<number>();
      });

      const surplus = Effect.fnUntraced(function* (
        where: string,
        reason: string,
        held: ReadonlyArray<string>,
      ) {
        return { path: where, reason, bytes: yield* disks.size(where), locks: held };
      });

      /** What can go of one endpoint's folder: all of it, or single environments. */
      const ofEndpoint = Effect.fnUntraced(function* (root: string, days: number) {
        const parent = path.join(root, ".venvs");
        const names = yield* namesIn(parent);
        const environments = names.filter((name) => parseVenvName(name) !== undefined);
        const own = path.join(root, ".initialization.lock");
        const unused = yield* idle([path.join(root, LAST_START), own, parent]);
        if (Option.isSome(unused) && unused.value > days) {
          const held = environments.map((name) => lockOf(path.join(parent, name)));
          return [
            yield* surplus(
              root,
              `no worker came for ${Math.floor(unused.value)} days; files of its jobs go too`,
              [own, ...held],
            ),
          ];
        }
        const found: Array<Surplus> = [];
        const current = yield* Effect.option(files.readLink(path.join(root, ".venv")));
        for (const name of names) {
          const where = path.join(parent, name);
          const age = Option.getOrElse(yield* idle([where, lockOf(where)]), () => 0);
          if (name.startsWith(BUILDING) || name.startsWith(REMOVING)) {
            if (age > ABANDONED) found.push(yield* surplus(where, "was left half done", [own]));
          } else if (
            environments.includes(name) &&
            age > days &&
            Option.isSome(current) &&
            path.basename(current.value) !== name
          ) {
            found.push(
              yield* surplus(where, `is not the current one, unused for ${Math.floor(age)} days`, [
                lockOf(where),
              ]),
            );
          }
        }
        return found;
      });

      const find = Effect.fn("SurplusFinder.find")(function* (days: number) {
        const root = yield* folder;
        if (Option.isNone(root)) return { found: [], skipped: [] };
        const found: Array<Surplus> = [];
        const skipped: Array<string> = [];
        for (const name of yield* namesIn(root.value)) {
          const where = path.join(root.value, name);
          if (!(yield* isFolder(where))) {
            skipped.push(`${where} is not a folder (links are not followed)`);
          } else if (name.startsWith(REMOVING)) {
            found.push(yield* surplus(where, "was left half removed", []));
          } else {
            found.push(...(yield* ofEndpoint(where, days)));
          }
        }
        const cache = path.join(path.dirname(root.value), ".uv-cache");
        const unused = yield* Effect.result(uvCache.unused(cache));
        if (unused._tag === "Failure") {
          skipped.push(unused.failure.message);
        } else if (unused.success.length > 0) {
          const sizes = yield* Effect.forEach(unused.success, disks.size);
          found.push({
            path: cache,
            parts: unused.success,
            reason: "packages in uv's cache that nothing refers to",
            bytes: Option.map(Option.all(sizes), (all) => all.reduce((sum, bytes) => sum + bytes)),
            locks: [uvCache.lockOf(cache)],
          });
        }
        return { found, skipped };
      });

      const remove = Effect.fn("SurplusFinder.remove")(function* ({
        path: where,
        parts = [where],
        locks: held,
      }: Surplus) {
        for (const lock of held) {
          // Where there are no locks nobody can tell who uses it.
          const taken = yield* Effect.orElseSucceed(locks.tryLock(lock, "exclusive"), Option.none);
          if (Option.isNone(taken)) return false;
        }
        yield* Effect.forEach(parts, (part) => removeWhole(files, part), { discard: true }).pipe(
          Effect.mapError(diskFault(where, "can't be removed")),
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
