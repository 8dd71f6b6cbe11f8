import { hostname } from "node:os";
import { dirname } from "node:path";

import {
  Clock,
  Context,
  Duration,
  Effect,
  Exit,
  Layer,
  Metric,
  Option,
  Schema,
  Scope,
} from "effect";

import * as Setting from "../settings/Setting.ts";
import { wallMillis } from "../settings/SteadyClock.ts";
import { FileLock, LockUnavailable } from "./FileLock.ts";
import type { HeldLock } from "./HeldLock.ts";

const INIT_TIMEOUT = Setting.seconds({
  name: "WORKSPACE_INIT_TIMEOUT",
  doc: "Maximum time to wait while another worker prepares the shared workspace.",
  minimum: Duration.zero,
  fallback: Duration.seconds(30),
});

const POLL_INTERVAL = Setting.seconds({
  name: "WORKSPACE_LOCK_POLL_INTERVAL",
  doc: "Time between attempts to lock the shared workspace.",
  minimum: Duration.millis(10),
  fallback: Duration.millis(500),
});

/** Another worker held the lock for longer than the timeout. */
export class LockTimeout extends Schema.TaggedError<LockTimeout>()("LockTimeout", {
  path: Schema.String,
  /** Seconds waited. */
  waited: Schema.Finite,
  holder: Schema.optionalKey(Schema.String),
}) {
  override get message(): string {
    const { holder = "unknown" } = this;
    return (
      `${this.path} has been locked by another worker for more than ${this.waited} seconds (holder: ${holder}). ` +
      "If that worker is still building, raise WORKSPACE_INIT_TIMEOUT; if it hangs, stop it: the lock is released when its process ends."
    );
  }
}

export const locksAcquired = Metric.counter("workspace_lock_acquired", { incremental: true });
export const locksTimedOut = Metric.counter("workspace_lock_timed_out", { incremental: true });
export const lockWaits = Metric.timer("workspace_lock_wait");

/** The lock, or the value that made it unnecessary. */
export type Acquired<A> =
  | { readonly _tag: "Locked"; readonly lock: HeldLock }
  | { readonly _tag: "NotNeeded"; readonly value: A };

type Locks = FileLock["Service"];

/**
 * On some mounts `flock` always succeeds. Locking the same file again through a second descriptor detects this. Runs
 * once per folder and fails where locks have no effect.
 */
const lockProbe = (locks: Locks) => {
  const probed = new Set<string>();
  return Effect.fn("BlockingLock.probe")(function* (path: string) {
    const folder = dirname(path);
    if (probed.has(folder)) return;
    if (Option.isSome(yield* Effect.scoped(locks.tryLock(path, "exclusive")))) {
      return yield* new LockUnavailable({
        path: folder,
        reason:
          "flock has no effect on this file system, so workers would overwrite each other's work. Use a volume whose mount supports it",
      });
    }
    probed.add(folder);
  });
};

/** One try: returns the value, the lock, or none. Closes the descriptor at once if it does not get the lock. */
const tryOnce = Effect.fnUntraced(function* <A, E, R>(
  locks: Locks,
  probe: ReturnType<typeof lockProbe>,
  path: string,
  findResult: Effect.Effect<Option.Option<A>, E, R>,
): Effect.fn.Return<Option.Option<Acquired<A>>, LockUnavailable | E, R | Scope.Scope> {
  const value = yield* findResult;
  if (Option.isSome(value)) return Option.some({ _tag: "NotNeeded", value: value.value });
  const attempt = yield* Scope.fork(yield* Scope.Scope);
  const lock = yield* locks.tryLock(path, "exclusive").pipe(Scope.provide(attempt));
  if (Option.isSome(lock)) yield* probe(path);
  // The previous holder may have done the work since the first check.
  const done = Option.isSome(lock) ? yield* findResult : Option.none<A>();
  if (Option.isSome(lock) && Option.isNone(done)) {
    const since = new Date(yield* wallMillis).toISOString();
    // The text is only for messages.
    yield* Effect.ignore(lock.value.write(`pid ${process.pid} on ${hostname()} since ${since}`));
    return Option.some({ _tag: "Locked", lock: lock.value });
  }
  yield* Scope.close(attempt, Exit.void);
  return Option.map(done, (found) => ({ _tag: "NotNeeded", value: found }));
});

/** The lock for changes of the shared workspace. Unlike `FileLock`, it waits until another holder releases it. */
export class BlockingLock extends Context.Service<
  BlockingLock,
  {
    /**
     * Waits for the lock and holds it until the scope closes, unless `findResult` returns a value first: then
     * another worker has done the work that needs the lock.
     */
    readonly acquireUnless: <A, E, R>(
      path: string,
      findResult: Effect.Effect<Option.Option<A>, E, R>,
      /** Overrides a shorter timeout of the setting. */
      minWait?: Duration.Duration,
    ) => Effect.Effect<Acquired<A>, LockTimeout | LockUnavailable | E, Scope.Scope | R>;
  }
>()("worker-tetra/platform/BlockingLock") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const locks = yield* FileLock;
      const timeout = yield* INIT_TIMEOUT.value;
      const interval = yield* POLL_INTERVAL.value;
      const probe = lockProbe(locks);

      const acquireUnless = Effect.fn("BlockingLock.acquireUnless")(function* <A, E, R>(
        path: string,
        findResult: Effect.Effect<Option.Option<A>, E, R>,
        minWait = Duration.zero,
      ) {
        const maxWait = Duration.max(timeout, minWait);
        const started = yield* Clock.currentTimeMillis;
        const attempt = tryOnce(locks, probe, path, findResult);
        // The first try has no timeout, so a free lock is acquired even with a timeout of 0.
        const first = yield* attempt;
        const outcome = Option.isSome(first)
          ? first
          : yield* attempt.pipe(
              Effect.delay(interval),
              Effect.repeat({ until: (tried) => Option.isSome(tried) }),
              Effect.timeoutOption(maxWait),
              Effect.map(Option.flatten),
            );
        const waited = Duration.millis((yield* Clock.currentTimeMillis) - started);
        yield* Metric.update(lockWaits, waited);
        if (Option.isNone(outcome)) {
          yield* Metric.update(locksTimedOut, 1);
          const holder = yield* locks.read(path);
          return yield* new LockTimeout({
            path,
            waited: Duration.toSeconds(maxWait),
            ...(Option.isSome(holder) ? { holder: holder.value } : {}),
          });
        }
        if (outcome.value._tag === "Locked") yield* Metric.update(locksAcquired, 1);
        return outcome.value;
      });

      return BlockingLock.of({ acquireUnless });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(FileLock.layer));
}
