import { hostname } from "node:os";
import { dirname } from "node:path";

import { Duration, Effect, Option, Ref } from "effect";

import type { DiskFault } from "../../platform/files/DiskFault.ts";
import { FileLock } from "../../platform/locks/FileLock.ts";
import type { HeldLock } from "../../platform/locks/HeldLock.ts";
import { assertExclusive } from "../../platform/locks/LockProbe.ts";
import { wallMillis } from "../../settings/SteadyClock.ts";
import { HEARTBEAT_INTERVAL, holderText, sendsHeartbeats } from "./Holder.ts";

/** A lock on a volume that does not respond is not released: the next holder starts another generation. */
const MAX_RELEASE_WAIT = Duration.seconds(2);

/** Locks do their work without the text and heartbeats, for example on a full volume. */
const logFailure = (change: Effect.Effect<void, DiskFault>) =>
  Effect.catch(change, ({ message }) => Effect.logDebug(message));

/** Empties the file, which shows that the lock was released and not lost. */
const release = (write: HeldLock["write"]) =>
  Effect.timeoutOption(logFailure(write("")), MAX_RELEASE_WAIT);

const add =
  (path: string) =>
  (paths: ReadonlySet<string>): ReadonlySet<string> =>
    new Set(paths).add(path);

const remove =
  (path: string) =>
  (paths: ReadonlySet<string>): ReadonlySet<string> =>
    new Set([...paths].filter((other) => other !== path));

/** Locks whose files say who holds them and that this worker is running. */
export const announcedLocks = Effect.gen(function* () {
  const locks = yield* FileLock;
  const held = yield* Ref.make<ReadonlySet<string>>(new Set());
  const probed = yield* Ref.make<ReadonlySet<string>>(new Set());

  /** Checks once per folder whether locks have an effect. */
  const probe = Effect.fnUntraced(function* (path: string) {
    const folder = dirname(path);
    if ((yield* Ref.get(probed)).has(folder)) return;
    yield* assertExclusive(locks, path);
    yield* Ref.update(probed, add(folder));
  });

  /** What a holder has written; empty if there is none. */
  const textOf = (path: string) =>
    Effect.map(
      locks.read(path),
      Option.getOrElse(() => ""),
    );

  /** Writes who holds a lock into its file, and sends heartbeats until the scope closes. */
  const announce = Effect.fnUntraced(function* (path: string, { write, touch }: HeldLock) {
    const since = new Date(yield* wallMillis).toISOString();
    const text = holderText(`pid ${process.pid} on ${hostname()} since ${since}`);
    yield* Effect.acquireRelease(Ref.update(held, add(path)), () =>
      Effect.andThen(Ref.update(held, remove(path)), release(write)),
    );
    yield* logFailure(write(text));
    yield* Effect.forkScoped(Effect.forever(Effect.delay(logFailure(touch), HEARTBEAT_INTERVAL)));
  });

  return {
    textOf,

    /** One try, without waiting. Holds the lock until the scope closes. Fails where locks have no effect. */
    acquire: Effect.fnUntraced(function* (path: string) {
      const lock = yield* locks.tryLock(path, "exclusive");
      if (Option.isNone(lock)) return Option.none();
      // The last holder did not release the lock: it was killed, or lost the lock and is still running.
      const isAbandoned = sendsHeartbeats(yield* textOf(path));
      yield* announce(path, lock.value);
      yield* probe(path);
      return Option.some({ isAbandoned });
    }),

    /** Whether another worker holds a lock. A file that can't be opened may not exist. */
    isHeldByOther: Effect.fnUntraced(function* (path: string) {
      if ((yield* Ref.get(held)).has(path)) return false;
      const lock = yield* Effect.option(Effect.scoped(locks.tryLock(path, "exclusive")));
      return Option.exists(lock, Option.isNone);
    }),
  };
});

export type AnnouncedLocks = Effect.Success<typeof announcedLocks>;
