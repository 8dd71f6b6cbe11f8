import { createHash } from "node:crypto";

import { Cache, Clock, Duration, Effect, Option } from "effect";

import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { Workspace } from "../../workspace/Workspace.ts";

/** The number of lists of requirements that are remembered; the oldest is dropped first. */
const MAX_LISTS = 64;

const RECHECK_AFTER_MILLIS = Duration.toMillis(Duration.seconds(1));

interface Satisfied {
  readonly venv: Venv;
  /** The time of the last change to the venv's packages. */
  readonly changedAt: number;
  /** The first generation of the workspace that satisfied the list. */
  readonly generation: number;
  /** The time of the last check for changes, in milliseconds of Effect's clock. */
  checkedAt: number;
}

/** A hash, since a list can have a megabyte. */
const keyOf = (requirements: ReadonlyArray<string>): string =>
  createHash("sha256").update(JSON.stringify(requirements)).digest("base64");

/** Remembers which venv satisfies which list of requirements, so that jobs with a known list do not run uv. */
export const satisfiedLists = Effect.gen(function* () {
  const workspace = yield* Workspace;
  const venvs = yield* VenvBuilder;
  const lists = yield* Cache.make({
    capacity: MAX_LISTS,
    lookup: (_key: string): Effect.Effect<Satisfied> =>
      Effect.die("only values that were set are read"),
  });

  /** None if the list is unknown, or the packages of its venv changed since. */
  const find = Effect.fnUntraced(function* (key: string) {
    const known = yield* Cache.getSuccess(lists, key);
    if (Option.isNone(known)) return known;
    const now = yield* Clock.currentTimeMillis;
    if (now - known.value.checkedAt < RECHECK_AFTER_MILLIS) return known;
    const changedAt = yield* venvs.changedAt(known.value.venv);
    if (!Option.contains(changedAt, known.value.changedAt)) return Option.none();
    known.value.checkedAt = now;
    return known;
  });

  return {
    /**
     * Returns a workspace that satisfies a list, if a venv for it is known: the given workspace, or one with the
     * activated venv.
     */
    workspaceFor: Effect.fnUntraced(function* (
      requirements: ReadonlyArray<string>,
      prepared: PreparedWorkspace,
    ) {
      const known = yield* find(keyOf(requirements));
      if (Option.isNone(known)) return Option.none<PreparedWorkspace>();
      const { venv, generation } = known.value;
      if (venv.prefix !== prepared.prefix) return yield* workspace.activate(venv);
      // Another job may have installed the list after the workspace of this job was read.
      return Option.some(prepared.generation < generation ? { ...prepared, generation } : prepared);
    }),

    /**
     * Remembers that the venv of a workspace satisfies a list. The returned workspace has a new generation even if all
     * packages were already installed, since another worker may have just installed them.
     */
    remember: Effect.fnUntraced(function* (
      requirements: ReadonlyArray<string>,
      prepared: PreparedWorkspace,
    ) {
      const key = keyOf(requirements);
      const updated = yield* workspace.packagesAdded(prepared);
      const { venv, generation } = updated;
      const changedAt = yield* venvs.changedAt(venv);
      const checkedAt = yield* Clock.currentTimeMillis;
      yield* Cache.invalidate(lists, key);
      if (Option.isSome(changedAt)) {
        yield* Cache.set(lists, key, { venv, changedAt: changedAt.value, generation, checkedAt });
      }
      return updated;
    }),
  };
});
