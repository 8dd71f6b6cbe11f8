import { assert, describe, it } from "@effect/vitest";
import {
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Metric,
  Option,
  Path,
  Scope,
} from "effect";
import { TestClock } from "effect/testing";

import type { LockUnavailable } from "../../../src/platform/locks/FileLock.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { Leases, lockWaits } from "../../../src/venv/leases/Leases.ts";
import type { LockTimeout } from "../../../src/venv/leases/LockTimeout.ts";
import { type Behaviour, memoryFileLock } from "../../support/files/MemoryFileLock.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

const PLACE = { directory: "/volume" };
const FILE = "/volume/.initialization.lock";

const setUp = (variables: Readonly<Record<string, string>> = {}, behaviour: Behaviour = {}) => {
  const memory = memoryFileSystem({ "/volume": null });
  const locks = memoryFileLock(memory, behaviour);
  const layer = Leases.layerNoDeps.pipe(
    Layer.provide([locks.layer, memory.layer, Path.layer, Environment.layerOf(variables)]),
  );
  /** The number of tries to acquire the lock. */
  const tries = () => locks.tries.filter((line) => line.endsWith(FILE)).length;
  /** Another worker acquires the lock; it releases it when the returned scope closes. */
  const lockByOther = Effect.gen(function* () {
    const scope = yield* Scope.make();
    const held = yield* Scope.provide(locks.tryLock(FILE, "exclusive"), scope);
    if (Option.isSome(held)) yield* held.value.write("the other worker");
    return scope;
  });
  return { memory, locks, tries, lockByOther, provide: Effect.provide(layer) };
};

const noResult = Effect.succeedNone;

/** Acquires the lease and holds it until the scope closes; the result if it was not needed. */
const wait = <E = never>(
  find: Effect.Effect<Option.Option<string>, E> = noResult,
  minWait: Duration.Duration = Duration.zero,
) =>
  Effect.gen(function* () {
    const leases = yield* Leases;
    const outcome = yield* Deferred.make<
      Option.Option<string>,
      E | LockTimeout | LockUnavailable
    >();
    yield* leases
      .useUnless({
        place: PLACE,
        lock: "initialization",
        find,
        minWait,
        use: () => Effect.andThen(Deferred.succeed(outcome, Option.none()), Effect.never),
      })
      .pipe(
        Effect.asSome,
        Effect.onExit((exit) => Deferred.done(outcome, exit)),
        Effect.forkScoped,
      );
    return yield* Deferred.await(outcome);
  });

const count = (name: string) =>
  Effect.map(Metric.value(Metric.counter(name, { incremental: true })), (state) =>
    Number(state.count),
  );

describe("a lease", () => {
  it.effect(
    "acquires a free lock at once, writes the holder to the file and releases it when the scope closes",
    () => {
      const { locks, memory, provide } = setUp();
      return Effect.gen(function* () {
        yield* Effect.scoped(
          Effect.gen(function* () {
            assert.deepStrictEqual(yield* wait(), Option.none());
            assert.deepStrictEqual(locks.held(FILE), ["exclusive"]);
            assert.match(
              String(memory.show()[FILE]),
              new RegExp(`^pid ${process.pid} on .+ since 19`),
            );
          }),
        );
        assert.isEmpty(locks.paths());
        assert.property(memory.show(), FILE);
        assert.isEmpty(memory.paths(/probe/));
      }).pipe(provide);
    },
  );

  it.effect("tries again at every interval until the lock is free", () => {
    const { locks, tries, lockByOther, provide } = setUp({ WORKSPACE_LOCK_POLL_INTERVAL: "2" });
    return Effect.gen(function* () {
      const other = yield* lockByOther;
      const acquired = yield* count("workspace_lock_acquired");
      const fiber = yield* Effect.forkScoped(wait());
      yield* TestClock.adjust(Duration.millis(1999));
      assert.strictEqual(tries(), 2);
      yield* TestClock.adjust(Duration.millis(1));
      assert.strictEqual(tries(), 3);
      yield* TestClock.adjust(Duration.seconds(10));
      assert.strictEqual(tries(), 8);
      yield* Scope.close(other, Exit.void);
      assert.isUndefined(fiber.pollUnsafe());
      yield* TestClock.adjust(Duration.seconds(2));
      assert.deepStrictEqual(yield* Fiber.join(fiber), Option.none());
      assert.deepStrictEqual(locks.held(FILE), ["exclusive"]);
      assert.strictEqual(yield* count("workspace_lock_acquired"), acquired + 1);
    }).pipe(Effect.scoped, provide);
  });

  it.effect("fails after the timeout with the file, the seconds and the holder", () => {
    const { locks, lockByOther, provide } = setUp({ WORKSPACE_INIT_TIMEOUT: "7" });
    return Effect.gen(function* () {
      yield* lockByOther;
      const timedOut = yield* count("workspace_lock_timed_out");
      const fiber = yield* Effect.forkScoped(Effect.flip(wait()));
      yield* TestClock.adjust(Duration.millis(6999));
      assert.isUndefined(fiber.pollUnsafe());
      yield* TestClock.adjust(Duration.millis(1));
      const error = yield* Fiber.join(fiber);
      assert.deepInclude(error, {
        _tag: "LockTimeout",
        path: FILE,
        waited: 7,
        holder: "the other worker",
      });
      assert.include(error.message, "more than 7 seconds (holder: the other worker)");
      assert.include(error.message, "WORKSPACE_INIT_TIMEOUT");
      assert.deepStrictEqual(locks.held(FILE), ["exclusive"]);
      assert.strictEqual(yield* count("workspace_lock_timed_out"), timedOut + 1);
    }).pipe(Effect.scoped, provide);
  });

  it.effect("tries once if the timeout is 0", () => {
    const { lockByOther, provide } = setUp({ WORKSPACE_INIT_TIMEOUT: "0" });
    return Effect.gen(function* () {
      yield* Effect.scoped(wait());
      const other = yield* lockByOther;
      const fiber = yield* Effect.forkScoped(Effect.flip(wait()));
      yield* TestClock.adjust(Duration.millis(1));
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "LockTimeout");
      yield* Scope.close(other, Exit.void);
    }).pipe(Effect.scoped, provide);
  });

  it.effect("waits longer than the timeout if the caller sets a longer minimum", () => {
    const { lockByOther, provide } = setUp({ WORKSPACE_INIT_TIMEOUT: "7" });
    return Effect.gen(function* () {
      const other = yield* lockByOther;
      const fiber = yield* Effect.forkScoped(wait(noResult, Duration.minutes(1)));
      yield* TestClock.adjust(Duration.seconds(50));
      assert.isUndefined(fiber.pollUnsafe());
      yield* Scope.close(other, Exit.void);
      yield* TestClock.adjust(Duration.seconds(1));
      assert.deepStrictEqual(yield* Fiber.join(fiber), Option.none());
    }).pipe(Effect.scoped, provide);
  });

  it.effect("returns the result of another worker without acquiring the lock", () => {
    const { locks, lockByOther, provide } = setUp();
    let result = Option.none<string>();
    return Effect.gen(function* () {
      const other = yield* lockByOther;
      const acquired = yield* count("workspace_lock_acquired");
      const fiber = yield* Effect.forkScoped(wait(Effect.sync(() => result)));
      yield* TestClock.adjust(Duration.seconds(3));
      result = Option.some("done by the other");
      yield* TestClock.adjust(Duration.seconds(1));
      assert.deepStrictEqual(yield* Fiber.join(fiber), Option.some("done by the other"));
      assert.strictEqual(yield* count("workspace_lock_acquired"), acquired);
      yield* Scope.close(other, Exit.void);
      assert.isEmpty(locks.paths());
    }).pipe(Effect.scoped, provide);
  });

  it.effect("measures the time spent waiting", () => {
    const { lockByOther, provide } = setUp();
    return Effect.gen(function* () {
      yield* TestClock.adjust(Duration.hours(1));
      const other = yield* lockByOther;
      const before = yield* Metric.value(lockWaits);
      const fiber = yield* Effect.forkScoped(wait());
      yield* TestClock.adjust(Duration.seconds(3));
      yield* Scope.close(other, Exit.void);
      yield* TestClock.adjust(Duration.seconds(1));
      yield* Fiber.join(fiber);
      const after = yield* Metric.value(lockWaits);
      assert.strictEqual(after.count, before.count + 1);
      assert.strictEqual(after.sum - before.sum, 3500);
    }).pipe(Effect.scoped, provide);
  });

  it.effect("checks for a result again after it acquired the lock", () => {
    const { locks, provide } = setUp();
    return Effect.gen(function* () {
      // The result appears between the first check and the lock.
      const result = Effect.sync(() =>
        locks.held(FILE).length > 0 ? Option.some("done just now") : Option.none<string>(),
      );
      assert.deepStrictEqual(yield* wait(result), Option.some("done just now"));
      assert.isEmpty(locks.paths());
    }).pipe(Effect.scoped, provide);
  });

  it.effect("fails with the error of the check and releases the lock", () => {
    const { locks, provide } = setUp();
    return Effect.gen(function* () {
      const error = yield* Effect.flip(wait(Effect.fail("check failed")));
      assert.strictEqual(error, "check failed");
      assert.isEmpty(locks.paths());
    }).pipe(Effect.scoped, provide);
  });

  it.effect("stops trying and holds no lock after an interruption", () => {
    const { locks, tries, lockByOther, provide } = setUp();
    return Effect.gen(function* () {
      const other = yield* lockByOther;
      const fiber = yield* Effect.forkChild(Effect.scoped(wait()));
      yield* TestClock.adjust(Duration.seconds(2));
      yield* Fiber.interrupt(fiber);
      const before = tries();
      yield* Scope.close(other, Exit.void);
      assert.isEmpty(locks.paths());
      yield* TestClock.adjust(Duration.seconds(60));
      assert.strictEqual(tries(), before);
    }).pipe(provide);
  });

  it.effect("fails on a file system where locks have no effect", () => {
    const { locks, provide } = setUp({}, { withoutEffect: /^\/volume/ });
    return Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(wait()));
      assert.strictEqual(error._tag, "LockUnavailable");
      assert.include(error.message, "/volume can't be locked: flock has no effect");
      assert.isEmpty(locks.held(FILE));
    }).pipe(Effect.scoped, provide);
  });

  it.effect("reports why locking is not possible", () => {
    const { provide } = setUp({}, { refusal: "no flock here" });
    return Effect.gen(function* () {
      const error = yield* Effect.flip(wait());
      assert.include(error.message, "can't be locked: no flock here");
    }).pipe(Effect.scoped, provide);
  });

  it.effect("checks once per folder whether locks have an effect", () => {
    const { locks, provide } = setUp();
    return Effect.gen(function* () {
      yield* Effect.scoped(wait());
      yield* Effect.scoped(wait());
      // Two locks, and one check by the first holder.
      assert.lengthOf(locks.tries, 3);
    }).pipe(provide);
  });

  it.effect("names a setting with an invalid value", () => {
    const { provide } = setUp({ WORKSPACE_INIT_TIMEOUT: "soon" });
    return Effect.gen(function* () {
      const error = yield* Effect.flip(provide(wait()));
      assert.include(error.message, 'WORKSPACE_INIT_TIMEOUT is "soon"');
    }).pipe(Effect.scoped);
  });
});
