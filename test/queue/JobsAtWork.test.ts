import { assert, describe, it } from "@effect/vitest";
import { Deferred, Duration, Effect, Exit, Fiber, Scope } from "effect";
import { TestClock } from "effect/testing";

import { jobsAtWork } from "../../src/queue/JobsAtWork.ts";
import { turns } from "../support/effects/Interruption.ts";
import { isDone } from "../support/effects/Waiting.ts";

/** Code that runs until it is stopped, which takes until `gate` opens. */
const code = Effect.fnUntraced(function* (gate: Effect.Effect<void> = Effect.void) {
  const fiber = yield* Effect.forkChild(Effect.onInterrupt(Effect.never, () => gate));
  yield* turns(20);
  return fiber;
});

describe("JobsAtWork", () => {
  it.effect("knows its jobs from when they are added until they are removed", () =>
    Effect.gen(function* () {
      const atWork = yield* jobsAtWork(3);
      assert.strictEqual(atWork.count(), 0);
      assert.isUndefined(atWork.find("one"));
      const one = yield* atWork.add("one");
      yield* TestClock.adjust("2 seconds");
      const two = yield* atWork.add("two");
      yield* TestClock.adjust("1 second");
      assert.strictEqual(atWork.count(), 2);
      assert.deepStrictEqual(atWork.all(), [one, two]);
      assert.deepStrictEqual([atWork.find("one"), atWork.find("two")], [one, two]);
      assert.strictEqual(Duration.toSeconds(yield* one.elapsed), 3);
      assert.strictEqual(Duration.toSeconds(yield* two.elapsed), 1);
      yield* one.remove;
      assert.deepStrictEqual(atWork.all(), [two]);
      assert.isUndefined(atWork.find("one"));
    }),
  );

  it.effect("names each job once whose result is not delivered, at work or not", () =>
    Effect.gen(function* () {
      const atWork = yield* jobsAtWork(3);
      const one = yield* atWork.add("one");
      yield* atWork.add("two");
      yield* atWork.addUndelivered("one");
      assert.deepStrictEqual(atWork.ids(), ["one", "two"]);
      yield* one.remove;
      assert.isTrue(atWork.isUndelivered("one"));
      assert.sameMembers([...atWork.ids()], ["one", "two"]);
      yield* atWork.removeUndelivered("one");
      assert.isFalse(atWork.isUndelivered("one"));
      assert.deepStrictEqual(atWork.ids(), ["two"]);
    }),
  );

  it.effect("finds the latest job of an id, and removes each one by itself", () =>
    Effect.gen(function* () {
      const atWork = yield* jobsAtWork(3);
      const earlier = yield* atWork.add("same");
      const later = yield* atWork.add("same");
      assert.strictEqual(atWork.find("same"), later);
      const removal = yield* Effect.forkChild(earlier.awaitRemoval);
      yield* turns(20);
      assert.isFalse(isDone(removal));
      yield* earlier.remove;
      yield* Fiber.join(removal);
      assert.deepStrictEqual(atWork.all(), [later]);
      yield* later.remove;
      assert.isEmpty(atWork.all());
    }),
  );

  it.effect("waits until there are free slots, and tells how many", () =>
    Effect.gen(function* () {
      const atWork = yield* jobsAtWork(2);
      assert.strictEqual(yield* atWork.freeSlots, 2);
      const one = yield* atWork.add("one");
      assert.strictEqual(yield* atWork.freeSlots, 1);
      const two = yield* atWork.add("two");
      const tooMany = yield* atWork.add("three");
      const waiting = yield* Effect.forkChild(atWork.freeSlots);
      yield* tooMany.remove;
      yield* turns(20);
      assert.isFalse(isDone(waiting));
      yield* one.remove;
      assert.strictEqual(yield* Fiber.join(waiting), 1);
      yield* two.remove;
      assert.strictEqual(yield* atWork.freeSlots, 2);
    }),
  );

  it.effect("gives each slot to one job at a time, until its scope ends", () =>
    Effect.gen(function* () {
      const atWork = yield* jobsAtWork(2);
      const first = yield* Scope.make();
      yield* Scope.provide(atWork.acquireSlot, first);
      yield* atWork.acquireSlot;
      const waiting = yield* Effect.forkChild(Effect.scoped(atWork.acquireSlot));
      yield* turns(20);
      assert.isFalse(isDone(waiting));
      yield* Scope.close(first, Exit.void);
      yield* Fiber.join(waiting);
    }).pipe(Effect.scoped),
  );

  it.effect("stops the code of a job and waits for its end", () =>
    Effect.gen(function* () {
      const atWork = yield* jobsAtWork(1);
      const job = yield* atWork.add("job");
      // Opens at the end of the test too, which waits for the code.
      const gate = yield* Effect.acquireRelease(Deferred.make<void>(), (deferred) =>
        Deferred.succeed(deferred, undefined),
      );
      const running = yield* code(Deferred.await(gate));
      yield* job.setCode(running);
      yield* turns(20);
      assert.isFalse(isDone(running));
      assert.isUndefined(job.stopReason());
      const stopping = yield* Effect.forkChild(job.stop("stopped by RunPod"));
      yield* turns(20);
      assert.strictEqual(job.stopReason(), "stopped by RunPod");
      assert.isFalse(isDone(stopping));
      yield* Deferred.succeed(gate, undefined);
      yield* Fiber.join(stopping);
      assert.isTrue(isDone(running));
      yield* job.stop("shut down");
      assert.strictEqual(job.stopReason(), "stopped by RunPod");
    }),
  );

  it.effect("stops the code of a job as it begins if it was to be stopped before", () =>
    Effect.gen(function* () {
      const atWork = yield* jobsAtWork(1);
      const job = yield* atWork.add("job");
      yield* job.stop("shut down");
      const running = yield* code();
      yield* job.setCode(running);
      assert.isTrue(isDone(running));
      assert.strictEqual(job.stopReason(), "shut down");
    }),
  );
});
