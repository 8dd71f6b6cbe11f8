import { randomUUID } from "node:crypto";

import { Duration, Effect, Option, Schema } from "effect";

import type { HeldLock, LockMode } from "../locks/HeldLock.ts";
import { Done } from "./VolumeFiles.ts";
import type { VolumeProcess } from "./VolumeProcess.ts";

/** A lock on a volume that hangs is released when its process ends. */
const MAX_RELEASE_WAIT = Duration.seconds(2);

/** Locks on the network volume, held by its process. */
export const volumeLocks = ({ request }: VolumeProcess["Service"]) => {
  const release = (path: string, lock: string) =>
    request("locks.release", { path, lock }, Done).pipe(
      Effect.timeout(MAX_RELEASE_WAIT),
      Effect.catch((error) => Effect.logDebug(`Could not release ${path}: ${error.message}`)),
    );

  return {
    /** The process knows the lock by an id that is chosen here, so an interrupted attempt can be released too. */
    tryLock: Effect.fnUntraced(function* (path: string, mode: LockMode) {
      const lock = randomUUID();
      let isUnlocked = false;
      yield* Effect.addFinalizer(() => (isUnlocked ? Effect.void : release(path, lock)));
      const attempt = request("locks.acquire", { path, mode, lock }, Schema.Boolean);
      const isLocked = yield* Effect.tapError(attempt, () =>
        Effect.sync(() => {
          isUnlocked = true;
        }),
      );
      isUnlocked = !isLocked;
      if (!isLocked) return Option.none<HeldLock>();
      return Option.some<HeldLock>({
        write: (text) => Effect.asVoid(request("locks.write", { path, lock, text }, Done)),
        touch: Effect.asVoid(request("locks.touch", { path, lock }, Done)),
      });
    }),
    read: (path: string) => request("locks.read", { path }, Schema.String),
  };
};
