import { Effect, Exit, Option, Ref, Scope } from "effect";

import { lockOf } from "../../platform/files/Removal.ts";
import { FileLock } from "../../platform/locks/FileLock.ts";
import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";

/** Python processes may still run from venvs that were active before, so their leases are kept. */
export const MAX_LEASES = 8;

/**
 * Shared locks that prevent other workers from removing the venvs that this worker uses. The oldest lease is released
 * only after the new one was acquired, which a ScopedCache would not guarantee.
 */
export const venvLeases = Effect.gen(function* () {
  const locks = yield* FileLock;
  const venvs = yield* VenvBuilder;
  const layerScope = yield* Effect.scope;
  /** By the venv's folder, in order of acquisition. */
  const leases = yield* Ref.make<ReadonlyMap<string, Scope.Closeable>>(new Map());

  const release = Effect.fnUntraced(function* (prefix: string) {
    const lease = yield* Ref.modify(leases, (all) => {
      const others = new Map(all);
      others.delete(prefix);
      return [all.get(prefix), others];
    });
    if (lease !== undefined) yield* Scope.close(lease, Exit.void);
  });

  /** False if another worker is removing the venv. True where locks don't work, because nothing is removed there. */
  const lock = (prefix: string) =>
    locks.tryLock(lockOf(prefix), "shared").pipe(
      Effect.map(Option.isSome),
      Effect.catchTag("LockUnavailable", (error) =>
        Effect.as(Effect.logDebug(error.message), true),
      ),
    );

  const acquireNew = Effect.fnUntraced(function* (venv: Venv) {
    const lease = yield* Scope.fork(layerScope);
    const isAcquired = yield* lock(venv.prefix).pipe(
      // The venv may have been removed before it was locked.
      Effect.flatMap((isLocked) => (isLocked ? venvs.exists(venv) : Effect.succeed(false))),
      Scope.provide(lease),
      Effect.onExit((exit) =>
        Exit.isSuccess(exit) && exit.value ? Effect.void : Scope.close(lease, Exit.void),
      ),
    );
    return isAcquired ? Option.some(lease) : Option.none();
  });

  return {
    /** Locks a venv against removal; false if it is incomplete or removed. */
    acquire: Effect.fnUntraced(function* (venv: Venv) {
      const { prefix } = venv;
      const existing = (yield* Ref.get(leases)).get(prefix);
      if (existing !== undefined && !(yield* venvs.isComplete(venv))) return false;
      const lease = existing === undefined ? yield* acquireNew(venv) : Option.some(existing);
      if (Option.isNone(lease)) return false;
      const all = yield* Ref.updateAndGet(leases, (before) => {
        const others = new Map(before);
        others.delete(prefix);
        return others.set(prefix, lease.value);
      });
      yield* Effect.forEach([...all.keys()].slice(0, -MAX_LEASES), release, { discard: true });
      return true;
    }),
    release,
  };
});
