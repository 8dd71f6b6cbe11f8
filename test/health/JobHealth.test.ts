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

/** The health of a machine whose GPU is checked by an effect. */
const machine = Effect.fnUntraced(function* (gpuCheck: Effect.Effect<void, Unfit> = Effect.void) {
  const reports: Array<Unfit> = [];
  let checks = 0;
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
    checks += 1;
    return gpuCheck;
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
  return {
    ...health,
    ends,
    reports,
    checks: () => checks,
    unfit: Effect.flip(Fiber.join(watching)),
    watching,
  };
});

const quietLogs = keptLogs().layer;

describe("jobHealth", () => {
  it.effect("checks the GPU after a job that lost it, and takes no job during the check", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>();
      const { events, beforeTake, checks } = yield* machine(Deferred.await(gate));
      events.notify({ _tag: "GpuLost" });
      const taking = yield* Effect.forkChild(beforeTake);
      yield* TestClock.adjust("1 minute");
      assert.isUndefined(taking.pollUnsafe());
      yield* Deferred.succeed(gate, undefined);
      assert.strictEqual(yield* Fiber.join(taking), Number.POSITIVE_INFINITY);
      assert.strictEqual(checks(), 1);
    }).pipe(Effect.scoped),
  );

  it.effect("fails when the check of the GPU fails", () =>
    Effect.gen(function* () {
      const { events, unfit } = yield* machine(Effect.fail(noGpu));
      events.notify({ _tag: "GpuLost" });
      assert.deepStrictEqual(yield* unfit, noGpu);
    }).pipe(Effect.scoped),
  );

  it.effect.each([
    [["cuda", "cuda", "cuda"]],
    [["launch", "cuda", "launch"]],
    [["launch", "launch", "cuda"]],
  ] as const)("checks the GPU after three consecutive jobs that end with %j", ([ends]) =>
    Effect.gen(function* () {
      const one = yield* machine(Effect.fail(noGpu));
      yield* one.ends(...ends.slice(0, 2));
      assert.strictEqual(one.checks(), 0);
      yield* one.ends(...ends.slice(2));
      assert.deepStrictEqual(yield* one.unfit, noGpu);
    }).pipe(Effect.scoped, Effect.provide(quietLogs)),
  );

  it.effect(
    "fails after three consecutive jobs for which Python did not start, with the reason",
    () =>
      Effect.gen(function* () {
        const one = yield* machine();
        yield* one.ends("launch", "launch", "launch");
        const unfit = yield* one.unfit;
        assert.strictEqual(unfit.check, "python");
        assert.include(unfit.reason, "by launch");
        assert.deepStrictEqual(one.reports, [unfit]);
        const taking = yield* Effect.forkChild(one.beforeTake);
        yield* TestClock.adjust("1 hour");
        assert.isUndefined(taking.pollUnsafe());
      }).pipe(Effect.scoped),
  );

  it.effect(
    "fails after three failed starts, although jobs succeed in another process between them",
    () =>
      Effect.gen(function* () {
        const one = yield* machine();
        yield* one.ends("launch", "ran", "launch", "ran", "ran");
        assert.isUndefined(one.watching.pollUnsafe());
        yield* one.ends("launch", "ran");
        const unfit = yield* one.unfit;
        assert.include(unfit.reason, "3 times in a row: by launch");
      }).pipe(Effect.scoped),
  );

  it.effect("does not fail when a process starts between failed starts", () =>
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

  it.effect("fails after three consecutive jobs without a workspace, but not after fewer", () =>
    Effect.gen(function* () {
      const one = yield* machine();
      yield* one.ends("workspace", "ran", "workspace", "ran", "workspace", "workspace", "ran");
      assert.isUndefined(one.watching.pollUnsafe());
      yield* one.ends("workspace", "workspace", "workspace");
      assert.include((yield* one.unfit).reason, "by workspace");
    }).pipe(Effect.scoped),
  );

  it.effect("resets the count of failures after a job that ran", () =>
    Effect.gen(function* () {
      const one = yield* machine(Effect.fail(noGpu));
      yield* one.ends("launch", "cuda", "ran", "cuda", "launch", "ran");
      one.events.notify({ _tag: "ProcessStarted" });
      yield* one.ends("launch", "launch", "ran");
      assert.strictEqual(one.checks(), 0);
      assert.isUndefined(one.watching.pollUnsafe());
      assert.strictEqual(yield* one.beforeTake, Number.POSITIVE_INFINITY);
    }).pipe(Effect.scoped),
  );

  it.effect("takes one job at a time while starts fail, after a delay that doubles", () =>
    Effect.gen(function* () {
      const one = yield* machine();
      for (const delay of [1000, 2000]) {
        yield* one.ends("launch");
        const taking = yield* Effect.forkChild(one.beforeTake);
        yield* TestClock.adjust(delay - 1);
        assert.isUndefined(taking.pollUnsafe());
        yield* TestClock.adjust(1);
        assert.strictEqual(yield* Fiber.join(taking), 1);
      }
    }).pipe(Effect.scoped),
  );
});
