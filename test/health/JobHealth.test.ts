import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Fiber } from "effect";
import { TestClock } from "effect/testing";

import type { JobEnd } from "../../src/domain/JobEvents.ts";
import { Fitness } from "../../src/health/Fitness.ts";
import { jobHealth } from "../../src/health/JobHealth.ts";
import { Unfit } from "../../src/health/Unfit.ts";
import { turns } from "../support/effects/Interruption.ts";
import { keptLogs } from "../support/fakes/CapturedLogs.ts";

const noGpu = new Unfit({ check: "gpu", reason: "the GPU is gone" });

/** A worker's view of its machine, with a GPU that is looked at by an effect. */
const machine = Effect.fnUntraced(function* (look: Effect.Effect<void, Unfit> = Effect.void) {
  const reports: Array<Unfit> = [];
  let looks = 0;
  const fitness = Fitness.of({
    check: Effect.void,
    requiresGpu: true,
    checkCuda: () => Effect.void,
    refuse: (unfit) => {
      reports.push(unfit);
      return Effect.fail(unfit);
    },
  });
  const checkGpu = Effect.suspend(() => {
    looks += 1;
    return look;
  });
  const health = yield* Effect.provideService(jobHealth(checkGpu), Fitness, fitness);
  const watching = yield* Effect.forkScoped(health.watch);
  const ends = (...all: ReadonlyArray<JobEnd>) =>
    Effect.andThen(
      Effect.sync(() => {
        for (const end of all)
          health.events.notify({ _tag: "Ended", end: end, reason: `by ${end}` });
      }),
      turns(20),
    );
  return { ...health, ends, reports, looks: () => looks, verdict: Fiber.join(watching), watching };
});

const quiet = keptLogs().layer;

describe("the health of a machine, judged by its jobs,", () => {
  it.effect("is in doubt after a job that lost the GPU, and nothing is taken until the check", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>();
      const { events, beforeTake, looks } = yield* machine(Deferred.await(gate));
      events.notify({ _tag: "GpuLost" });
      const taking = yield* Effect.forkChild(beforeTake);
      yield* TestClock.adjust("1 minute");
      assert.isUndefined(taking.pollUnsafe());
      yield* Deferred.succeed(gate, undefined);
      assert.strictEqual(yield* Fiber.join(taking), Number.POSITIVE_INFINITY);
      assert.strictEqual(looks(), 1);
    }).pipe(Effect.scoped),
  );

  it.effect("is bad when the GPU fails that check", () =>
    Effect.gen(function* () {
      const { events, verdict } = yield* machine(Effect.fail(noGpu));
      events.notify({ _tag: "GpuLost" });
      assert.deepStrictEqual(yield* Effect.flip(verdict), noGpu);
    }).pipe(Effect.scoped),
  );

  it.effect.each([
    [["cuda", "cuda", "cuda"]],
    [["launch", "cuda", "launch"]],
    [["launch", "launch", "cuda"]],
  ] as const)("is checked after three jobs in a row that end by %j", ([ends]) =>
    Effect.gen(function* () {
      const one = yield* machine(Effect.fail(noGpu));
      yield* one.ends(...ends.slice(0, 2));
      assert.strictEqual(one.looks(), 0);
      yield* one.ends(...ends.slice(2));
      assert.deepStrictEqual(yield* Effect.flip(one.verdict), noGpu);
    }).pipe(Effect.scoped, Effect.provide(quiet)),
  );

  it.effect("is bad after three jobs in a row for which Python did not start, and says why", () =>
    Effect.gen(function* () {
      const one = yield* machine();
      yield* one.ends("launch", "launch", "launch");
      const unfit = yield* Effect.flip(one.verdict);
      assert.strictEqual(unfit.check, "python");
      assert.include(unfit.reason, "by launch");
      assert.deepStrictEqual(one.reports, [unfit]);
      const taking = yield* Effect.forkChild(one.beforeTake);
      yield* TestClock.adjust("1 hour");
      assert.isUndefined(taking.pollUnsafe());
    }).pipe(Effect.scoped),
  );

  it.effect(
    "is bad after three failed starts, although jobs ran in another process meanwhile",
    () =>
      Effect.gen(function* () {
        const one = yield* machine();
        yield* one.ends("launch", "ran", "launch", "ran", "ran");
        assert.isUndefined(one.watching.pollUnsafe());
        yield* one.ends("launch", "ran");
        const unfit = yield* Effect.flip(one.verdict);
        assert.include(unfit.reason, "3 times in a row: by launch");
      }).pipe(Effect.scoped),
  );

  it.effect("is good when a process could be started between failed starts", () =>
    Effect.gen(function* () {
      const one = yield* machine();
      for (let turn = 0; turn < 3; turn += 1) {
        yield* one.ends("launch", "ran", "launch", "ran");
        one.events.notify({ _tag: "ProcessStarted" });
        yield* one.ends("ran");
      }
      assert.isUndefined(one.watching.pollUnsafe());
    }).pipe(Effect.scoped),
  );

  it.effect("is good after a workspace that was missing now and then, and bad without one", () =>
    Effect.gen(function* () {
      const one = yield* machine();
      yield* one.ends("workspace", "ran", "workspace", "ran", "workspace", "workspace", "ran");
      assert.isUndefined(one.watching.pollUnsafe());
      yield* one.ends("workspace", "workspace", "workspace");
      assert.include((yield* Effect.flip(one.verdict)).reason, "by workspace");
    }).pipe(Effect.scoped),
  );

  it.effect("is good again after a job that ran", () =>
    Effect.gen(function* () {
      const one = yield* machine(Effect.fail(noGpu));
      yield* one.ends("launch", "cuda", "ran", "cuda", "launch", "ran");
      one.events.notify({ _tag: "ProcessStarted" });
      yield* one.ends("launch", "launch", "ran");
      assert.strictEqual(one.looks(), 0);
      assert.isUndefined(one.watching.pollUnsafe());
      assert.strictEqual(yield* one.beforeTake, Number.POSITIVE_INFINITY);
    }).pipe(Effect.scoped),
  );

  it.effect("lets one job at a time be taken while starts fail, after a pause that doubles", () =>
    Effect.gen(function* () {
      const one = yield* machine();
      for (const pause of [1000, 2000]) {
        yield* one.ends("launch");
        const taking = yield* Effect.forkChild(one.beforeTake);
        yield* TestClock.adjust(pause - 1);
        assert.isUndefined(taking.pollUnsafe());
        yield* TestClock.adjust(1);
        assert.strictEqual(yield* Fiber.join(taking), 1);
      }
    }).pipe(Effect.scoped),
  );
});
