import { Clock, Duration, Effect, FileSystem, Option, Ref } from "effect";

import type { Place } from "../../venv/Place.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import type { PreparedWorkspace } from "../PreparedWorkspace.ts";

/** The folder and the venv are checked again if the last check is older than this. */
const RECHECK_AFTER_MILLIS = Duration.toMillis(Duration.seconds(1));

interface Active {
  readonly place: Place;
  readonly prepared: PreparedWorkspace;
  /** In milliseconds, by Effect's clock. */
  readonly checkedAt: number;
}

/** The workspace that jobs run in; none before the first one is prepared and after it was invalidated. */
export const activeWorkspace = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const venvs = yield* VenvBuilder;
  const active = yield* Ref.make(Option.none<Active>());
  const generation = yield* Ref.make(0);
  const nextGeneration = Ref.updateAndGet(generation, (number) => number + 1);

  const isIntact = Effect.fnUntraced(function* ({ place, prepared }: Active) {
    const exists = yield* Effect.orElseSucceed(files.exists(place.directory), () => false);
    return exists && (yield* venvs.isComplete(prepared.venv));
  });

  /** Changes the active workspace, unless another venv has been activated. */
  const updateIf = (prefix: string, change: Partial<Active>) =>
    Ref.updateAndGet(
      active,
      Option.map((now) => (now.prepared.prefix === prefix ? { ...now, ...change } : now)),
    );

  return {
    get: Ref.get(active),

    /** Runs for every call, so it is a plain function without an effect. */
    getIfRecent: (now: number): PreparedWorkspace | undefined => {
      const known = Ref.getUnsafe(active);
      return Option.isSome(known) && now - known.value.checkedAt < RECHECK_AFTER_MILLIS
        ? known.value.prepared
        : undefined;
    },

    /** Checks the active workspace on disk; none if its folder or its venv is broken. */
    check: Effect.fnUntraced(function* () {
      const known = yield* Ref.get(active);
      if (Option.isNone(known) || !(yield* isIntact(known.value))) return Option.none();
      const checkedAt = yield* Clock.currentTimeMillis;
      const updated = yield* updateIf(known.value.prepared.prefix, { checkedAt });
      return Option.map(updated, ({ prepared }) => prepared);
    }),

    set: Effect.fnUntraced(function* (
      place: Place,
      workspace: Omit<PreparedWorkspace, "generation">,
    ) {
      const prepared = { ...workspace, generation: yield* nextGeneration };
      const checkedAt = yield* Clock.currentTimeMillis;
      yield* Ref.set(active, Option.some({ place, prepared, checkedAt }));
      return prepared;
    }),

    invalidate: Ref.set(active, Option.none<Active>()),

    packagesAdded: Effect.fnUntraced(function* (workspace: PreparedWorkspace) {
      const prepared = { ...workspace, generation: yield* nextGeneration };
      yield* updateIf(workspace.prefix, { prepared });
      return prepared;
    }),
  };
});
