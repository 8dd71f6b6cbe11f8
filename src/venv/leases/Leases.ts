import {
  Clock,
  Context,
  Duration,
  Effect,
  Exit,
  FileSystem,
  Layer,
  Metric,
  Option,
  Result,
  Scope,
} from "effect";

import { FileLock, type LockUnavailable } from "../../platform/locks/FileLock.ts";
import * as Setting from "../../settings/Setting.ts";
import { type AnnouncedLocks, announcedLocks } from "./AnnouncedLocks.ts";
import {
  currentGeneration,
  lockFile,
  type LockName,
  startGeneration,
  type Workspace,
} from "./Generation.ts";
import { holderName } from "./Holder.ts";
import { watchHolders } from "./HolderWatch.ts";
import { LockTimeout } from "./LockTimeout.ts";

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

/** After this time, the log says which worker is waited for. */
const LOG_WAIT_AFTER = Duration.seconds(5);

export const locksAcquired = Metric.counter("workspace_lock_acquired", { incremental: true });
export const locksTimedOut = Metric.counter("workspace_lock_timed_out", { incremental: true });
export const lockWaits = Metric.timer("workspace_lock_wait");

/** What a lease is needed for. */
interface LeaseOptions<A, E, R> {
  readonly place: Workspace;
  readonly lock: LockName;
  /** Returns a value if another worker has done the work, so that the lease is not needed. */
  readonly find: Effect.Effect<Option.Option<A>, E, R>;
  /** Overrides a shorter timeout of the setting. */
  readonly minWait?: Duration.Duration;
}

type Acquired<A> =
  | { readonly _tag: "Leased"; readonly generation: number }
  | { readonly _tag: "NotNeeded"; readonly value: A };

/** Tries to get leases. */
const trying = (files: FileSystem.FileSystem, locks: AnnouncedLocks) => {
  /** One try: returns the value, the lease, or none. Closes the lock file at once if it does not get the lease. */
  const tryOnce = Effect.fnUntraced(function* <A, E, R>(
    options: LeaseOptions<A, E, R>,
    watch: (generation: number) => Effect.Effect<void>,
  ): Effect.fn.Return<Option.Option<Acquired<A>>, LockUnavailable | E, R | Scope.Scope> {
    const { place, find } = options;
    const value = yield* find;
    if (Option.isSome(value)) return Option.some({ _tag: "NotNeeded", value: value.value });
    const generation = yield* currentGeneration(files, place);
    const path = lockFile(place, options.lock, generation);
    const scope = yield* Scope.fork(yield* Scope.Scope);
    const lock = yield* Scope.provide(locks.acquire(path), scope);
    if (Option.isNone(lock)) {
      yield* Scope.close(scope, Exit.void);
      yield* watch(generation);
      return Option.none();
    }
    if (lock.value.isAbandoned) yield* startGeneration(files, place, generation + 1);
    // The previous holder may have done the work since the first check.
    const done = yield* find;
    if (Option.isSome(done)) {
      yield* Scope.close(scope, Exit.void);
      return Option.some({ _tag: "NotNeeded", value: done.value });
    }
    if ((yield* currentGeneration(files, place)) !== generation) {
      yield* Scope.close(scope, Exit.void);
      return yield* tryOnce(options, watch);
    }
    return Option.some({ _tag: "Leased", generation });
  });
  return tryOnce;
};

/** Waits for leases. */
const acquiring = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const locks = yield* announcedLocks;
  const timeout = yield* INIT_TIMEOUT.value;
  const interval = yield* POLL_INTERVAL.value;
  const tryOnce = trying(files, locks);

  /** Waits for a lease, and holds it until the scope closes. */
  return Effect.fn("Leases.acquire")(function* <A, E, R>(options: LeaseOptions<A, E, R>) {
    const { place, lock, minWait = Duration.zero } = options;
    const maxWait = Duration.max(timeout, minWait);
    const started = yield* Clock.currentTimeMillis;
    const attempt = tryOnce(options, yield* watchHolders(files, locks, place, lock, interval));
    const findHolder = Effect.gen(function* () {
      const path = lockFile(place, lock, yield* currentGeneration(files, place));
      return { path, holder: holderName(yield* locks.textOf(path)) };
    });
    const logHolder = Effect.flatMap(findHolder, ({ path, holder }) =>
      Effect.logInfo(`Waiting for ${path}, which is locked by another worker (${holder})`),
    );
    const polls = attempt.pipe(
      Effect.delay(interval),
      Effect.repeat({ until: (tried) => Option.isSome(tried) }),
      Effect.timeoutOption(maxWait),
      Effect.map(Option.flatten),
      Effect.raceFirst(Effect.andThen(Effect.delay(logHolder, LOG_WAIT_AFTER), Effect.never)),
    );
    // The first try has no timeout, so a free lock is acquired even with a timeout of 0.
    const first = yield* attempt;
    const outcome = Option.isSome(first) ? first : yield* polls;
    yield* Metric.update(lockWaits, Duration.millis((yield* Clock.currentTimeMillis) - started));
    if (Option.isNone(outcome)) {
      yield* Metric.update(locksTimedOut, 1);
      const { path, holder } = yield* findHolder;
      const waited = Duration.toSeconds(maxWait);
      return yield* new LockTimeout({ path, waited, ...(holder === "" ? {} : { holder }) });
    }
    if (outcome.value._tag === "Leased") yield* Metric.update(locksAcquired, 1);
    return outcome.value;
  });
});

/**
 * Leases for changes of a place that other workers use too. Unlike a `FileLock`, a lease is waited for, and one whose
 * holder has stopped is replaced.
 */
export class Leases extends Context.Service<
  Leases,
  {
    /**
     * Runs `use` with the lease, unless `find` returns a value first. `use` must only write to paths of the lease's
     * generation. If it fails and other workers had replaced the lease because this one was stopped, tries again.
     */
    readonly useUnless: <A, E1, R1, E2, R2>(
      options: LeaseOptions<A, E1, R1> & {
        readonly use: (generation: number) => Effect.Effect<A, E2, R2>;
      },
    ) => Effect.Effect<A, LockTimeout | LockUnavailable | E1 | E2, R1 | R2>;
  }
>()("worker-tetra/venv/Leases") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const acquire = yield* acquiring;
      const isReplaced = (place: Workspace, generation: number) =>
        currentGeneration(files, place).pipe(
          Effect.map((current) => current > generation),
          Effect.orElseSucceed(() => false),
        );

      const useUnless: Leases["Service"]["useUnless"] = Effect.fnUntraced(function* (options) {
        const outcome = yield* Effect.scoped(
          Effect.gen(function* () {
            const acquired = yield* acquire(options);
            if (acquired._tag === "NotNeeded") return Option.some(Result.succeed(acquired.value));
            const { generation } = acquired;
            const used = yield* Effect.result(options.use(generation));
            const isOver = Result.isFailure(used) && (yield* isReplaced(options.place, generation));
            return isOver ? Option.none<typeof used>() : Option.some(used);
          }),
        );
        if (Option.isSome(outcome)) return yield* Effect.fromResult(outcome.value);
        yield* Effect.logInfo("Other workers have replaced a lock of this worker; trying again");
        return yield* useUnless(options);
      });

      return Leases.of({ useUnless });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(FileLock.layer));
}
