import { assert, describe, it } from "@effect/vitest";
import { Duration, Effect, Exit, Fiber, Layer, Metric, Option, Path, Scope } from "effect";
import { TestClock } from "effect/testing";

import { lockWaits, BlockingLock } from "../../src/platform/BlockingLock.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { type Behaviour, memoryFileLock } from "../support/files/MemoryFileLock.ts";
import { memoryFileSystem } from "../support/files/MemoryFileSystem.ts";

const FILE = "/volume/.initialization.lock";

const setUp = (variables: Readonly<Record<string, string>> = {}, behaviour: Behaviour = {}) => {
  const memory = memoryFileSystem({ "/volume": null });
  const locks = memoryFileLock(memory, behaviour);
  const layer = BlockingLock.layerNoDeps.pipe(
    Layer.provide([locks.layer, memory.layer, Path.layer, Environment.layerOf(variables)]),
  );
  /** How often the lock itself was tried for. */
  const tries = () => locks.tries.filter((line) => line.endsWith(FILE)).length;
  /** Somebody else has the lock until the scope closes. */
  const byOther = Effect.gen(function* () {
    const scope = yield* Scope.make();
    const held = yield* Scope.provide(locks.tryLock(FILE, "exclusive"), scope);
    if (Option.isSome(held)) held.value.writeHolder("the other worker");
    return scope;
  });
  return { memory, locks, tries, byOther, provide: Effect.provide(layer) };
};

const never = Effect.succeedNone;

const wait = (settled: Effect.Effect<Option.Option<string>> = never, minWait?: Duration.Duration) =>
  Effect.gen(function* () {
    const acquired = yield* (yield* BlockingLock).acquireUnless(FILE, settled, minWait);
    return acquired._tag === "Locked" ? Option.none() : Option.some(acquired.value);
  });

const count = (name: string) =>
  Effect.map(Metric.value(Metric.counter(name, { incremental: true })), (state) =>
    Number(state.count),
  );

describe("BlockingLock", () => {
  it.effect("holds a free lock at once, with its name in the file, until the scope closes", () => {
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
  });

  it.effect("asks again every interval, and has the lock as soon as it is free", () => {
    const { locks, tries, byOther, provide } = setUp({ WORKSPACE_LOCK_POLL_INTERVAL: "2" });
    return Effect.gen(function* () {
      const other = yield* byOther;
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

  it.effect("gives up after the time-out, naming file, seconds and holder", () => {
    const { locks, byOther, provide } = setUp({ WORKSPACE_INIT_TIMEOUT: "7" });
    return Effect.gen(function* () {
      yield* byOther;
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

  it.effect("tries once when it may not wait at all", () => {
    const { byOther, provide } = setUp({ WORKSPACE_INIT_TIMEOUT: "0" });
    return Effect.gen(function* () {
      yield* Effect.scoped(wait());
      const other = yield* byOther;
      const fiber = yield* Effect.forkScoped(Effect.flip(wait()));
      yield* TestClock.adjust(Duration.millis(1));
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "LockTimeout");
      yield* Scope.close(other, Exit.void);
    }).pipe(Effect.scoped, provide);
  });

  it.effect("is more patient where it is told to be", () => {
    const { byOther, provide } = setUp({ WORKSPACE_INIT_TIMEOUT: "7" });
    return Effect.gen(function* () {
      const other = yield* byOther;
      const fiber = yield* Effect.forkScoped(wait(never, Duration.minutes(1)));
      yield* TestClock.adjust(Duration.seconds(50));
      assert.isUndefined(fiber.pollUnsafe());
      yield* Scope.close(other, Exit.void);
      yield* TestClock.adjust(Duration.seconds(1));
      assert.deepStrictEqual(yield* Fiber.join(fiber), Option.none());
    }).pipe(Effect.scoped, provide);
  });

  it.effect("ends with what another worker settled, without the lock", () => {
    const { locks, byOther, provide } = setUp();
    let settled = Option.none<string>();
    return Effect.gen(function* () {
      const other = yield* byOther;
      const acquired = yield* count("workspace_lock_acquired");
      const fiber = yield* Effect.forkScoped(wait(Effect.sync(() => settled)));
      yield* TestClock.adjust(Duration.seconds(3));
      settled = Option.some("done by the other");
      yield* TestClock.adjust(Duration.seconds(1));
      assert.deepStrictEqual(yield* Fiber.join(fiber), Option.some("done by the other"));
      assert.strictEqual(yield* count("workspace_lock_acquired"), acquired);
      yield* Scope.close(other, Exit.void);
      assert.isEmpty(locks.paths());
    }).pipe(Effect.scoped, provide);
  });

  it.effect("measures how long was waited", () => {
    const { byOther, provide } = setUp();
    return Effect.gen(function* () {
      yield* TestClock.adjust(Duration.hours(1));
      const other = yield* byOther;
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

  it.effect("looks once more at what others settled when it has the lock", () => {
    const { locks, provide } = setUp();
    return Effect.gen(function* () {
      // Settled between the look and the lock.
      const settled = Effect.sync(() =>
        locks.held(FILE).length > 0 ? Option.some("done just now") : Option.none<string>(),
      );
      assert.deepStrictEqual(yield* wait(settled), Option.some("done just now"));
      assert.isEmpty(locks.paths());
    }).pipe(Effect.scoped, provide);
  });

  it.effect("fails with what looking fails with, and keeps nothing", () => {
    const { locks, provide } = setUp();
    return Effect.gen(function* () {
      const error = yield* Effect.flip(
        (yield* BlockingLock).acquireUnless(FILE, Effect.fail("no look")),
      );
      assert.strictEqual(error, "no look");
      assert.isEmpty(locks.paths());
    }).pipe(Effect.scoped, provide);
  });

  it.effect("keeps nothing when it is interrupted while it waits", () => {
    const { locks, tries, byOther, provide } = setUp();
    return Effect.gen(function* () {
      const other = yield* byOther;
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

  it.effect("refuses a file system where a lock keeps nobody out, and says so", () => {
    const { locks, provide } = setUp({}, { withoutEffect: /^\/volume/ });
    return Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(wait()));
      assert.strictEqual(error._tag, "LockUnavailable");
      assert.include(error.message, "/volume can't be locked: flock has no effect");
      assert.isEmpty(locks.held(FILE));
    }).pipe(Effect.scoped, provide);
  });

  it.effect("says why no lock can be had", () => {
    const { provide } = setUp({}, { refusal: "no flock here" });
    return Effect.gen(function* () {
      const error = yield* Effect.flip(wait());
      assert.include(error.message, "can't be locked: no flock here");
    }).pipe(Effect.scoped, provide);
  });

  it.effect("tries out a folder once", () => {
    const { locks, provide } = setUp();
    return Effect.gen(function* () {
      yield* Effect.scoped(wait());
      yield* Effect.scoped(wait());
      // The first holder tries to get in a second time.
      assert.lengthOf(locks.tries, 3);
    }).pipe(provide);
  });

  it.effect("refuses settings that make no sense, by name", () => {
    const { provide } = setUp({ WORKSPACE_INIT_TIMEOUT: "soon" });
    return Effect.gen(function* () {
      const error = yield* Effect.flip(provide(wait()));
      assert.include(error.message, 'WORKSPACE_INIT_TIMEOUT is "soon"');
    }).pipe(Effect.scoped);
  });
});
