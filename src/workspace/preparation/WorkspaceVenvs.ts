import { Duration, Effect, FileSystem, Option } from "effect";

import type { DiskFault } from "../../platform/files/DiskFault.ts";
import { lockOf, removeFolder } from "../../platform/files/Removal.ts";
import { FileLock } from "../../platform/locks/FileLock.ts";
import type { PythonNotFound } from "../../venv/Interpreters.ts";
import type { Place } from "../../venv/Place.ts";
import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import { Leases } from "../../venv/leases/Leases.ts";

/** On the container's disk there is no other place to fall back to, so the lock is worth a longer wait. */
const MIN_WAIT_ON_OWN_DISK = Duration.minutes(10);

/** How a worker got its virtual environment. */
export type Origin = "reused" | "created" | "rebuilt" | "initialized by another worker";

/** The venvs of a workspace. Finding needs no lock, building needs the lease of the place, removal the lock of the venv. */
export const workspaceVenvs = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const venvs = yield* VenvBuilder;
  const leases = yield* Leases;
  const locks = yield* FileLock;

  const removeUnlessLeased = (prefix: string) =>
    Effect.scoped(
      Effect.gen(function* () {
        const exclusive = yield* locks.tryLock(lockOf(prefix), "exclusive");
        if (Option.isSome(exclusive)) yield* removeFolder(files, prefix);
      }),
    ).pipe(
      Effect.catch((error) => Effect.logDebug(`Could not remove ${prefix}: ${error.message}`)),
    );

  /** Removes venvs of this generation of the place and of earlier ones. */
  const removeUnused = Effect.fn("Workspace.removeUnused")(function* (place: Place, now: number) {
    const surplus = (yield* venvs.surplus(place)).filter(({ generation }) => generation <= now);
    yield* Effect.forEach(surplus, ({ prefix }) => removeUnlessLeased(prefix), { discard: true });
  });

  /** Builds a venv with the lease of the place, unless `find` returns one because another worker built it. */
  const buildUnless = (
    place: Place,
    find: Effect.Effect<Option.Option<Venv>, PythonNotFound | DiskFault>,
    requirements: ReadonlyArray<string>,
    cache?: boolean,
  ) =>
    leases.useUnless({
      place,
      lock: "initialization",
      minWait: place.shared ? Duration.zero : MIN_WAIT_ON_OWN_DISK,
      find: Effect.map(
        find,
        Option.map((venv) => ({ venv, isFromOtherWorker: true })),
      ),
      use: Effect.fnUntraced(function* (generation) {
        const venv = yield* venvs.build(place, requirements, generation, cache);
        yield* removeUnused(place, generation);
        return { venv, isFromOtherWorker: false };
      }),
    });

  return {
    /** Builds a new venv, even if others exist. */
    build: (place: Place, requirements: ReadonlyArray<string>, cache?: boolean) =>
      Effect.map(buildUnless(place, Effect.succeedNone, requirements, cache), ({ venv }) => venv),

    /** The newest venv of the place, or a new one with the requirements of the broken venv that it replaces. */
    findOrBuild: Effect.fn("Workspace.findOrBuild")(function* (
      place: Place,
      requirementsOfBroken?: ReadonlyArray<string>,
    ) {
      const find = venvs.find(place);
      const found = yield* find;
      if (Option.isSome(found)) return [found.value, "reused"] as const;
      const { venv, isFromOtherWorker } = yield* buildUnless(
        place,
        find,
        requirementsOfBroken ?? [],
      );
      if (isFromOtherWorker) return [venv, "initialized by another worker"] as const;
      return [venv, requirementsOfBroken === undefined ? "created" : "rebuilt"] as const;
    }),
  };
});
