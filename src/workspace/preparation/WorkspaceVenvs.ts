import { join } from "node:path";

import { Duration, Effect, FileSystem, Option } from "effect";

import { BlockingLock } from "../../platform/BlockingLock.ts";
import { FileLock } from "../../platform/FileLock.ts";
import { lockOf, removeFolder } from "../../platform/files/Removal.ts";
import type { PythonNotFound } from "../../venv/Interpreters.ts";
import type { Place } from "../../venv/Place.ts";
import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";

/** On its own disk a worker meets only workers of the same machine, and has nowhere else to go. */
const MIN_WAIT_ON_OWN_DISK = Duration.minutes(10);

/** How a worker came by a virtual environment. */
export type Origin = "reused" | "created" | "rebuilt" | "initialized by another worker";

/** The virtual environments of a workspace: found without a lock, built under one, removed when nobody uses them. */
export const workspaceVenvs = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const venvs = yield* VenvBuilder;
  const lock = yield* BlockingLock;
  const locks = yield* FileLock;

  const removeUnlessLeased = (prefix: string) =>
    Effect.scoped(
      Effect.gen(function* () {
        const exclusive = yield* locks.tryLock(lockOf(prefix), "exclusive");
        if (Option.isSome(exclusive)) yield* removeFolder(files, prefix);
      }),
    ).pipe(Effect.catch((error) => Effect.logDebug(`${prefix} stays: ${error.message}`)));

  const removeUnused = Effect.fn("Workspace.removeUnused")(function* (place: Place) {
    const surplus = yield* venvs.surplus(place);
    yield* Effect.forEach(surplus, ({ prefix }) => removeUnlessLeased(prefix), { discard: true });
  });

  /** Builds a venv under the lock of the place, unless `find` has one first: then another worker built it. */
  const buildUnless = Effect.fnUntraced(function* (
    place: Place,
    find: Effect.Effect<Option.Option<Venv>, PythonNotFound>,
    requirements: ReadonlyArray<string>,
    cache?: boolean,
  ) {
    const file = join(place.directory, ".initialization.lock");
    const minWait = place.shared ? Duration.zero : MIN_WAIT_ON_OWN_DISK;
    const acquired = yield* lock.acquireUnless(file, find, minWait);
    if (acquired._tag === "NotNeeded") return { venv: acquired.value, isFromOtherWorker: true };
    const venv = yield* venvs.build(place, requirements, cache);
    yield* removeUnused(place);
    return { venv, isFromOtherWorker: false };
  }, Effect.scoped);

  return {
    /** Builds a venv, even if there are others. */
    build: (place: Place, requirements: ReadonlyArray<string>, cache?: boolean) =>
      Effect.map(buildUnless(place, Effect.succeedNone, requirements, cache), ({ venv }) => venv),

    /** The newest venv of the place, or a new one: with these requirements if it replaces a broken one. */
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
