import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Exit, Fiber, Layer } from "effect";

import { BackgroundWork } from "../../src/platform/BackgroundWork.ts";
import { keptLogs } from "../support/fakes/CapturedLogs.ts";

/** Lets all fibers run until none can continue. */
const otherFibersRun = Effect.repeat(Effect.yieldNow, { times: 20 });

/** Work that records its start and its end, and ends when told. */
const recorded = (log: Array<string>, name: string, end: Effect.Effect<void> = Effect.void) =>
  Effect.sync(() => log.push(`${name} started`)).pipe(
    Effect.andThen(end),
    Effect.andThen(Effect.sync(() => void log.push(`${name} ended`))),
  );

describe("BackgroundWork", () => {
  it.effect("runs queued work in order, one piece at a time, without making its caller wait", () =>
    Effect.gen(function* () {
      const log: Array<string> = [];
      const { run } = yield* BackgroundWork;
      const end = yield* Deferred.make<void>();
      yield* run("first", recorded(log, "first", Deferred.await(end)));
      yield* run("second", recorded(log, "second"));
      yield* otherFibersRun;
      assert.deepStrictEqual(log, ["first started"]);
      yield* Deferred.succeed(end, undefined);
      yield* otherFibersRun;
      assert.deepStrictEqual(log, [
        "first started",
        "first ended",
        "second started",
        "second ended",
      ]);
    }).pipe(Effect.provide(BackgroundWork.layer)),
  );

  it.effect("runs short work while long work is running", () =>
    Effect.gen(function* () {
      const log: Array<string> = [];
      const { run, runLong } = yield* BackgroundWork;
      yield* runLong("long", recorded(log, "long", Effect.never));
      yield* otherFibersRun;
      yield* run("short", recorded(log, "short"));
      yield* otherFibersRun;
      assert.deepStrictEqual(log, ["long started", "short started", "short ended"]);
    }).pipe(Effect.provide(BackgroundWork.layer)),
  );

  it.effect("starts no long work, but still short work, while the worker stops", () =>
    Effect.gen(function* () {
      const log: Array<string> = [];
      const { run, runLong, busy, stop } = yield* BackgroundWork;
      yield* busy(Effect.andThen(runLong("long", recorded(log, "long")), stop));
      yield* run("short", recorded(log, "short"));
      yield* otherFibersRun;
      assert.deepStrictEqual(log, ["short started", "short ended"]);
    }).pipe(Effect.provide(BackgroundWork.layer)),
  );

  it.effect("starts no work while at least one of several jobs is running", () =>
    Effect.gen(function* () {
      const log: Array<string> = [];
      const { run, busy } = yield* BackgroundWork;
      const ends = [yield* Deferred.make<void>(), yield* Deferred.make<void>()] as const;
      const jobs = yield* Effect.forEach(ends, (end) =>
        Effect.forkChild(busy(Deferred.await(end))),
      );
      yield* otherFibersRun;
      yield* run("work", recorded(log, "work"));
      yield* Deferred.succeed(ends[0], undefined);
      yield* otherFibersRun;
      assert.deepStrictEqual(log, []);
      yield* Deferred.interrupt(ends[1]);
      yield* Effect.forEach(jobs, Fiber.await);
      yield* otherFibersRun;
      assert.deepStrictEqual(log, ["work started", "work ended"]);
    }).pipe(Effect.provide(BackgroundWork.layer)),
  );

  it.effect(
    "lets work with several steps wait for the end of a job, even of an interrupted one",
    () =>
      Effect.gen(function* () {
        const log: Array<string> = [];
        const { run, busy, idle } = yield* BackgroundWork;
        const step = yield* Deferred.make<void>();
        yield* run("work", recorded(log, "work", Effect.andThen(Deferred.await(step), idle)));
        yield* otherFibersRun;
        const job = yield* Effect.forkChild(busy(Effect.never));
        yield* otherFibersRun;
        yield* Deferred.succeed(step, undefined);
        yield* otherFibersRun;
        assert.deepStrictEqual(log, ["work started"]);
        yield* Fiber.interrupt(job);
        yield* otherFibersRun;
        assert.deepStrictEqual(log, ["work started", "work ended"]);
      }).pipe(Effect.provide(BackgroundWork.layer)),
  );

  it.effect("runs only the newest of several pieces of work with one name", () =>
    Effect.gen(function* () {
      const log: Array<string> = [];
      const { run, busy } = yield* BackgroundWork;
      yield* busy(
        Effect.gen(function* () {
          yield* run("profile", recorded(log, "old"));
          yield* run("profile", recorded(log, "new"));
          yield* otherFibersRun;
        }),
      );
      yield* otherFibersRun;
      assert.deepStrictEqual(log, ["new started", "new ended"]);
    }).pipe(Effect.provide(BackgroundWork.layer)),
  );

  it.effect("logs a failure or a defect of work, and runs the next one", () => {
    const logs = keptLogs();
    const log: Array<string> = [];
    return Effect.gen(function* () {
      const { run } = yield* BackgroundWork;
      yield* run("packing", Effect.fail({ message: "the disk is full" }));
      yield* run("compiling", Effect.die(new Error("a bug")));
      yield* run("next", recorded(log, "next"));
      yield* otherFibersRun;
      assert.deepStrictEqual(log, ["next started", "next ended"]);
      assert.deepStrictEqual(logs.warnings(), ["Could not finish packing: the disk is full"]);
      assert.lengthOf(logs.errors(), 1);
    }).pipe(Effect.provide(Layer.provideMerge(BackgroundWork.layer, logs.layer)));
  });

  it.effect("ends with the worker", () =>
    Effect.gen(function* () {
      const interrupted = yield* Deferred.make<void>();
      const started = yield* Deferred.make<void>();
      const worker = Effect.gen(function* () {
        const { run } = yield* BackgroundWork;
        const work = Effect.andThen(Deferred.succeed(started, undefined), Effect.never);
        yield* run(
          "work",
          Effect.onInterrupt(work, () => Deferred.succeed(interrupted, undefined)),
        );
        yield* Deferred.await(started);
      });
      const exit = yield* Effect.exit(Effect.provide(worker, BackgroundWork.layer));
      assert.isTrue(Exit.isSuccess(exit));
      assert.isTrue(yield* Deferred.isDone(interrupted));
    }),
  );
});
