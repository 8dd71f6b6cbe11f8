import { createHash } from "node:crypto";

import { Cache, Clock, Duration, Effect, Option } from "effect";

import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { Workspace } from "../../workspace/Workspace.ts";

/** The most lists of requirements that are remembered; the oldest is dropped first. */
const MAX_LISTS = 64;

/** A venv is checked for changes again when the last check is older than this. */
const RECHECK_AFTER_MILLIS = Duration.toMillis(Duration.seconds(1));

interface Satisfied {
  readonly venv: Venv;
  /** When the packages of the venv had changed last. */
  readonly changedAt: number;
  /** The generation of the workspace that first had them. */
  readonly generation: number;
  /** When they were last seen unchanged: in milliseconds, by the clock of Effect. */
  checkedAt: number;
}

/** Lists are hashed: one may have a megabyte. */
const keyOf = (requirements: ReadonlyArray<string>): string =>
  createHash("sha256").update(JSON.stringify(requirements)).digest("base64");

/** Remembers which venv satisfies which list of requirements, so that jobs with a known list start no process. */
export const satisfiedLists = Effect.gen(function* () {
  const workspace = yield* Workspace;
  const venvs = yield* VenvBuilder;
  const lists = yield* Cache.make({
    capacity: MAX_LISTS,
    lookup: (_key: string): Effect.Effect<Satisfied> =>
      Effect.die("only values that were set are read"),
  });

  /** None also if the packages of the venv have changed since. */
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
     * The workspace with the venv that satisfies a list, if one is known: the given workspace, or one that is activated
     * for it.
     */
    workspaceFor: Effect.fnUntraced(function* (
      requirements: ReadonlyArray<string>,
      prepared: PreparedWorkspace,
    ) {
      const known = yield* find(keyOf(requirements));
      if (Option.isNone(known)) return Option.none<PreparedWorkspace>();
      const { venv, generation } = known.value;
      if (venv.prefix !== prepared.prefix) return yield* workspace.activate(venv);
      // Another job may have installed the list since the workspace was looked up for this one.
      return Option.some(prepared.generation < generation ? { ...prepared, generation } : prepared);
    }),

    /**
     * Remembers that the venv of a workspace satisfies a list. The workspace has a new generation also when the packages
     * were found installed: another worker may have just installed them.
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
