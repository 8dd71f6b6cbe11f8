import { Clock, Duration, Effect, type FileSystem, Option, Ref } from "effect";

import type { AnnouncedLocks } from "./AnnouncedLocks.ts";
import {
  isSharedWithOthers,
  lockFile,
  type LockName,
  startGeneration,
  type Workspace,
} from "./Generation.ts";
import { holderName, isLost, LOST_AFTER, sight, type Sighting } from "./Holder.ts";

/** Looks at the holders of locks while a worker waits. */
const holderSightings = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  { textOf }: AnnouncedLocks,
  pollInterval: Duration.Duration,
) {
  const sightings = yield* Ref.make<ReadonlyMap<string, Sighting>>(new Map());

  const modifiedAt = (path: string) =>
    files.lstat(path).pipe(
      Effect.map(({ mtime }) => Option.match(mtime, { onNone: () => 0, onSome: Number })),
      Effect.orElseSucceed(() => 0),
    );

  return Effect.fnUntraced(function* (path: string) {
    const now = {
      text: yield* textOf(path),
      heartbeat: yield* modifiedAt(path),
      at: yield* Clock.currentTimeMillis,
    };
    const sighting = sight((yield* Ref.get(sightings)).get(path), now, pollInterval);
    yield* Ref.update(sightings, (all) => new Map(all).set(path, sighting));
    return sighting;
  });
});

/**
 * Watches the holders of both locks of a place, while a worker waits for one of them. When that holder has stopped,
 * starts the next generation, unless the other lock has a holder that is running.
 */
export const watchHolders = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  locks: AnnouncedLocks,
  place: Workspace,
  awaited: LockName,
  pollInterval: Duration.Duration,
) {
  const look = yield* holderSightings(files, locks, pollInterval);
  const other = awaited === "install" ? "initialization" : "install";

  return Effect.fn("Leases.watch")(
    function* (generation: number) {
      const path = lockFile(place, awaited, generation);
      const otherPath = lockFile(place, other, generation);
      const holder = yield* look(path);
      const otherHolder = yield* look(otherPath);
      if (!isLost(holder, isSharedWithOthers(awaited, generation))) return;
      const isOtherLost = isLost(otherHolder, isSharedWithOthers(other, generation));
      if (!isOtherLost && (yield* locks.isHeldByOther(otherPath))) return;
      if (!(yield* startGeneration(files, place, generation + 1))) return;
      yield* Effect.logWarning(
        `${path} is held by a worker that has stopped (${holderName(holder.text) || "unknown"}: no heartbeat for ${Duration.toSeconds(LOST_AFTER)} s). Starting generation ${generation + 1} of the locks.`,
      );
    },
    Effect.catch((error) => Effect.logDebug(`Could not replace a lock: ${error.message}`)),
  );
});
