import { join } from "node:path";

import { Duration, Effect, Fiber, FileSystem, Latch } from "effect";

import { BackgroundWork } from "../../platform/BackgroundWork.ts";
import { type DiskFault, diskFault } from "../../platform/files/DiskFault.ts";
import { stopwatch } from "../../settings/SteadyClock.ts";
import type { Venv } from "../../venv/Venv.ts";
import { PackageArchives, type SharedVenv } from "./PackageArchives.ts";
import { type Archives, deferredIn } from "./PackageList.ts";

/** The first job of a new container, which needs the CPU, usually arrives within this time. */
const BEGINS_AFTER = Duration.seconds(10);

/** Where the rest of a copy is unpacked. */
const ASIDE = ".worker-tetra-aside";

/** Archives that were damaged and removed, or have been pruned, are made again. */
export const forgettingMissing =
  (archives: PackageArchives["Service"], venv: Venv) =>
  ({ code }: DiskFault) =>
    code === "EBADMSG" || code === "ENOENT" ? archives.forget(venv) : Effect.void;

/**
 * Prepares the completion of a copy that was made of a start archive, which begins some time later, or when `complete` is
 * run.
 */
export const completion = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const archives = yield* PackageArchives;
  const background = yield* BackgroundWork;

  return Effect.fnUntraced(function* (
    { place, venv }: SharedVenv,
    { start, ...whole }: Archives,
    target: string,
  ) {
    if (start === undefined || deferredIn(start, whole.links).length === 0) {
      return { complete: Effect.void };
    }
    const begin = yield* Latch.make();
    const aside = join(target, ASIDE);
    const work = Effect.gen(function* () {
      yield* begin.await;
      const elapsed = yield* stopwatch;
      yield* Effect.mapError(files.makeDirectory(aside), diskFault(aside, "can't be created"));
      const all = [...whole.packages, whole.others];
      yield* archives.unpack({ place, venv }, all, aside, "background");
      yield* archives.complete(venv, { target, aside }, { ...whole, start });
      const seconds = Duration.toSeconds(yield* elapsed).toFixed(1);
      yield* Effect.logInfo(`Copied the rest of ${venv.prefix} in ${seconds} s`);
    });
    const running = yield* Effect.forkScoped(
      Effect.tapError(work, forgettingMissing(archives, venv)),
    );
    const complete = Effect.andThen(begin.open, Fiber.join(running));
    const later = Effect.sleep(BEGINS_AFTER).pipe(
      Effect.andThen(background.idle),
      Effect.andThen(complete),
    );
    yield* background.runLong(`copying the rest of ${venv.prefix}`, later);
    return { complete };
  });
});
