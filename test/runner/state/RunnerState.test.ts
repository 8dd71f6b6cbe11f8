import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Fiber, Layer } from "effect";

import { RunnerUnavailable } from "../../../src/runner/RunnerError.ts";
import { RunnerLauncher } from "../../../src/runner/RunnerLauncher.ts";
import { LiveProcess, makeRunnerState } from "../../../src/runner/state/RunnerState.ts";
import { fakeSession, instanceOf } from "../../support/fakes/FakeCalls.ts";
import { prepared, result } from "../../support/fakes/FakeRunner.ts";

const elsewhere = { ...prepared, prefix: "/elsewhere" };

/** A launcher that records when its processes start and end. */
const setUp = (start: Effect.Effect<void, RunnerUnavailable> = Effect.void) => {
  const events: Array<string> = [];
  const layer = Layer.mock(RunnerLauncher, {
    launch: ({ prefix }) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          events.push(`start ${prefix}`);
          return fakeSession({ prefix });
        }),
        () => Effect.sync(() => events.push(`end ${prefix}`)),
      ).pipe(Effect.tap(start)),
  });
  return { events, provide: Effect.provide(layer) };
};

describe("RunnerState", () => {
  it.effect(
    "keeps the process of a workspace, and ends it before it starts one for another",
    () => {
      const { events, provide } = setUp();
      return Effect.gen(function* () {
        const state = yield* makeRunnerState;
        assert.isUndefined(state.process());
        const first = yield* state.ensureProcess(prepared);
        assert.strictEqual(yield* state.ensureProcess(prepared), first);
        const second = yield* state.ensureProcess(elsewhere);
        assert.strictEqual(state.process(), second);
        assert.deepStrictEqual(events, [
          `start ${prepared.prefix}`,
          `end ${prepared.prefix}`,
          "start /elsewhere",
        ]);
      }).pipe(Effect.scoped, provide);
    },
  );

  it.effect("explains the loss of an instance with a replaced process, once and in a note", () => {
    const { provide } = setUp();
    return Effect.gen(function* () {
      const state = yield* makeRunnerState;
      const process = yield* state.ensureProcess(prepared);
      process.instances.update({ instanceId: null }, { ...result, instance: instanceOf("a") });
      assert.isTrue(state.hasInstance("a"));
      yield* state.ensureProcess(elsewhere);
      assert.isTrue(state.hasInstance("a"));
      assert.include(state.consumeNote(), "the instance of the previous Python process was lost");
      assert.isUndefined(state.consumeNote());
      assert.strictEqual(state.consumeLossReason("a"), "the virtual environment was replaced");
      assert.isFalse(state.hasInstance("a"));
    }).pipe(Effect.scoped, provide);
  });

  it.effect("has no process after a failed or interrupted start", () =>
    Effect.gen(function* () {
      const failing = setUp(Effect.fail(new RunnerUnavailable({ reason: "", output: "" })));
      yield* Effect.gen(function* () {
        const state = yield* makeRunnerState;
        yield* Effect.flip(state.ensureProcess(prepared));
        assert.isUndefined(state.process());
        assert.lengthOf(failing.events, 2);
      }).pipe(Effect.scoped, failing.provide);

      const begun = yield* Deferred.make<void>();
      const stuck = setUp(Effect.andThen(Deferred.succeed(begun, undefined), Effect.never));
      yield* Effect.gen(function* () {
        const state = yield* makeRunnerState;
        const fiber = yield* Effect.forkChild(state.ensureProcess(prepared));
        yield* Deferred.await(begun);
        yield* Fiber.interrupt(fiber);
        assert.isUndefined(state.process());
        assert.lengthOf(stuck.events, 2);
      }).pipe(Effect.scoped, stuck.provide);
    }),
  );

  it.effect("ends its process when the scope closes", () => {
    const { events, provide } = setUp();
    return Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.flatMap(makeRunnerState, ({ ensureProcess }) => ensureProcess(prepared)),
      );
      assert.deepStrictEqual(events, [`start ${prepared.prefix}`, `end ${prepared.prefix}`]);
    }).pipe(provide);
  });
});

describe("LiveProcess", () => {
  it("refreshes its import caches only for a newer generation than all earlier ones", () => {
    const process = new LiveProcess(fakeSession(), { ...prepared, generation: 3 });
    const refreshes = [2, 3, 4, 4, 3, 6, 5].map((generation) => process.advanceTo(generation));
    assert.deepStrictEqual(refreshes, [false, false, true, false, false, true, false]);
  });
});
