import { assert, describe, it } from "@effect/vitest";
import { Deferred, Duration, Effect, Exit, Fiber, Scope } from "effect";
import { TestClock } from "effect/testing";

import { makeActiveJobs } from "../../src/queue/ActiveJobs.ts";
import { turns } from "../support/effects/Interruption.ts";
import { isDone } from "../support/effects/Waiting.ts";

/** Code that runs until it is stopped; stopping takes until `gate` opens. */
const code = Effect.fnUntraced(function* (gate: Effect.Effect<void> = Effect.void) {
  const fiber = yield* Effect.forkChild(Effect.onInterrupt(Effect.never, () => gate));
  yield* turns(20);
  return fiber;
});

describe("ActiveJobs", () => {
  it.effect("has each job from when it is added until it is removed", () =>
    Effect.gen(function* () {
      const activeJobs = yield* makeActiveJobs(3);
      assert.strictEqual(activeJobs.count(), 0);
      assert.isUndefined(activeJobs.find("one"));
      const one = yield* activeJobs.add("one");
      yield* TestClock.adjust("2 seconds");
      const two = yield* activeJobs.add("two");
      yield* TestClock.adjust("1 second");
      assert.strictEqual(activeJobs.count(), 2);
      assert.deepStrictEqual(activeJobs.all(), [one, two]);
      assert.deepStrictEqual([activeJobs.find("one"), activeJobs.find("two")], [one, two]);
      assert.strictEqual(Duration.toSeconds(yield* one.elapsed), 3);
      assert.strictEqual(Duration.toSeconds(yield* two.elapsed), 1);
      yield* one.remove;
      assert.deepStrictEqual(activeJobs.all(), [two]);
      assert.isUndefined(activeJobs.find("one"));
    }),
  );

  it.effect("lists the id of each active or undelivered job once", () =>
    Effect.gen(function* () {
      const activeJobs = yield* makeActiveJobs(3);
      const one = yield* activeJobs.add("one");
      yield* activeJobs.add("two");
      yield* activeJobs.addUndelivered("one");
      assert.deepStrictEqual(activeJobs.ids(), ["one", "two"]);
      yield* one.remove;
      assert.isTrue(activeJobs.isUndelivered("one"));
      assert.sameMembers([...activeJobs.ids()], ["one", "two"]);
      yield* activeJobs.removeUndelivered("one");
      assert.isFalse(activeJobs.isUndelivered("one"));
      assert.deepStrictEqual(activeJobs.ids(), ["two"]);
    }),
  );

  it.effect(
    "finds the latest job with an id, and removes jobs with the same id independently",
    () =>
      Effect.gen(function* () {
        const activeJobs = yield* makeActiveJobs(3);
        const earlier = yield* activeJobs.add("same");
        const later = yield* activeJobs.add("same");
        assert.strictEqual(activeJobs.find("same"), later);
        const removal = yield* Effect.forkChild(earlier.awaitRemoval);
        yield* turns(20);
        assert.isFalse(isDone(removal));
        yield* earlier.remove;
        yield* Fiber.join(removal);
        assert.deepStrictEqual(activeJobs.all(), [later]);
        yield* later.remove;
        assert.isEmpty(activeJobs.all());
      }),
  );

  it.effect("waits until there are free slots, and returns their number", () =>
    Effect.gen(function* () {
      const activeJobs = yield* makeActiveJobs(2);
      assert.strictEqual(yield* activeJobs.freeSlots, 2);
      const one = yield* activeJobs.add("one");
      assert.strictEqual(yield* activeJobs.freeSlots, 1);
      const two = yield* activeJobs.add("two");
      const tooMany = yield* activeJobs.add("three");
      const waiting = yield* Effect.forkChild(activeJobs.freeSlots);
      yield* tooMany.remove;
      yield* turns(20);
      assert.isFalse(isDone(waiting));
      yield* one.remove;
      assert.strictEqual(yield* Fiber.join(waiting), 1);
      yield* two.remove;
      assert.strictEqual(yield* activeJobs.freeSlots, 2);
    }),
  );

  it.effect("gives each slot to one job at a time, until its scope closes", () =>
    Effect.gen(function* () {
      const activeJobs = yield* makeActiveJobs(2);
      const first = yield* Scope.make();
      yield* Scope.provide(activeJobs.acquireSlot, first);
      yield* activeJobs.acquireSlot;
      const waiting = yield* Effect.forkChild(Effect.scoped(activeJobs.acquireSlot));
      yield* turns(20);
      assert.isFalse(isDone(waiting));
      yield* Scope.close(first, Exit.void);
      yield* Fiber.join(waiting);
    }).pipe(Effect.scoped),
  );

  it.effect("has as many slots as it was resized to, and running jobs keep theirs", () =>
    Effect.gen(function* () {
      const activeJobs = yield* makeActiveJobs(1);
      yield* activeJobs.add("one");
      yield* activeJobs.acquireSlot;
      const free = yield* Effect.forkChild(activeJobs.freeSlots);
      const slot = yield* Effect.forkChild(activeJobs.acquireSlot);
      yield* turns(20);
      assert.deepStrictEqual([isDone(free), isDone(slot)], [false, false]);
      yield* activeJobs.resize(3);
      assert.strictEqual(yield* Fiber.join(free), 2);
      yield* Fiber.join(slot);
      yield* activeJobs.resize(1);
      const waiting = yield* Effect.forkChild(activeJobs.acquireSlot);
      const none = yield* Effect.forkChild(activeJobs.freeSlots);
      yield* turns(20);
      assert.deepStrictEqual([isDone(none), isDone(waiting)], [false, false]);
    }).pipe(Effect.scoped),
  );

  it.effect("stops the code of a job and waits until it has stopped", () =>
    Effect.gen(function* () {
      const activeJobs = yield* makeActiveJobs(1);
      const job = yield* activeJobs.add("job");
      // Also opens if the test fails, since the end of the test waits for the code.
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

  it.effect("stops the code of a job as soon as it starts if a stop was requested before", () =>
    Effect.gen(function* () {
      const activeJobs = yield* makeActiveJobs(1);
      const job = yield* activeJobs.add("job");
      yield* job.stop("shut down");
      const running = yield* code();
      yield* job.setCode(running);
      assert.isTrue(isDone(running));
      assert.strictEqual(job.stopReason(), "shut down");
    }),
  );
});
