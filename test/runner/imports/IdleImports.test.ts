import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Exit, Fiber, Layer } from "effect";
import { TestClock } from "effect/testing";

import { RunnerLauncher } from "../../../src/runner/RunnerLauncher.ts";
import { RunnerPool } from "../../../src/runner/RunnerPool.ts";
import type { ImportEvent } from "../../../src/runner/RunnerProtocol.ts";
import type { Call } from "../../../src/runner/call/Call.ts";
import { EMPTY_PROFILE, withUsed } from "../../../src/workspace/profile/Profile.ts";
import { yieldUntil } from "../../support/effects/Waiting.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { callMeta } from "../../support/fakes/FakeCalls.ts";
import {
  type Behaviour,
  type FakeProcess,
  memoryProfile,
  prepared,
  textOf,
  well,
  withFakeRunners,
} from "../../support/fakes/FakeRunner.ts";

const call: Call = { meta: callMeta, blobs: [], workspace: prepared };

const pool = RunnerPool.layerNoDeps.pipe(Layer.provide(RunnerLauncher.layerNoDeps));

/** A worker of an endpoint whose jobs import these modules. */
const setUp = (
  modules: ReadonlyArray<string>,
  behaviours: ReadonlyArray<Behaviour>,
  variables: Readonly<Record<string, string>> = {},
) => {
  const profile = memoryProfile(withUsed(EMPTY_PROFILE, modules, 0));
  return { profile, ...withFakeRunners(pool, behaviours, variables, { profile }) };
};

const ended = (module: string, changes: object = {}): ImportEvent => ({
  event: "ended",
  module,
  seconds: 2,
  bytes: 300,
  error: "",
  output: "",
  ...changes,
});

/** Imports all modules at once. */
const importing = (runner: FakeProcess, modules: ReadonlyArray<string>) => {
  for (const module of modules) {
    runner.report({ event: "started", module });
    runner.report(ended(module));
  }
  runner.report({ event: "done" });
};

/** A process that ends while it imports a module. */
const crashing: Behaviour = {
  ...well,
  imports: (runner, modules) => {
    runner.report({ event: "started", module: modules[0] ?? "" });
    runner.end({ signal: "SIGSEGV" });
  },
};

/** Reports that it imports a module, and then nothing until the test continues. */
const hanging = (begun: Deferred.Deferred<FakeProcess>, more: Behaviour = {}): Behaviour => ({
  ...well,
  imports: (runner, modules) => {
    runner.report({ event: "started", module: modules[0] ?? "" });
    Deferred.doneUnsafe(begun, Exit.succeed(runner));
  },
  ...more,
});

describe("idle imports", () => {
  it.effect("import the modules of earlier jobs in a process that waits for its first job", () => {
    const requests: Array<ReadonlyArray<string>> = [];
    const { profile, provide } = setUp(
      ["torch", "numpy"],
      [
        {
          ...well,
          imports: (runner, modules) => {
            requests.push(modules);
            importing(runner, modules);
          },
        },
      ],
    );
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      yield* runner.warmOne;
      yield* yieldUntil(() => profile.current().modules.every(({ seconds }) => seconds === 2));
      assert.deepStrictEqual(profile.current().modules, [
        { name: "torch", seconds: 2, bytes: 300, usedAt: 0 },
        { name: "numpy", seconds: 2, bytes: 300, usedAt: 0 },
      ]);
      yield* runner.warm;
      yield* runner.call(call);
      yield* runner.warm;
      assert.deepStrictEqual(requests, [["torch", "numpy"]]);
    }).pipe(provide);
  });

  it.effect.each([
    [
      "a job is the first to need a process",
      {},
      (runner: RunnerPool["Service"]) => runner.call(call),
    ],
    [
      "they are turned off",
      { WORKER_IDLE_IMPORTS: "off" },
      (runner: RunnerPool["Service"]) => runner.warm,
    ],
  ] as const)("do not begin if %s", ([, variables, use]) => {
    const { started, provide } = setUp(
      ["torch"],
      [{ ...well, imports: () => assert.fail("imports") }],
      variables,
    );
    return Effect.gen(function* () {
      yield* use(yield* RunnerPool);
      yield* Effect.yieldNow;
      assert.lengthOf(started, 1);
    }).pipe(provide);
  });

  it.effect("do not begin after the modules have not been used for a week", () => {
    const { provide } = setUp(["torch"], [{ ...well, imports: () => assert.fail("imports") }]);
    return Effect.gen(function* () {
      yield* TestClock.adjust("8 days");
      const runner = yield* RunnerPool;
      yield* runner.warm;
      yield* Effect.yieldNow;
      yield* runner.call(call);
    }).pipe(provide);
  });

  it.effect("begin in every process", () => {
    let requests = 0;
    const { provide } = setUp(
      ["torch"],
      [
        {
          ...well,
          imports: (runner, modules) => {
            requests += 1;
            importing(runner, modules);
          },
        },
      ],
      { WORKER_CONCURRENCY: "3" },
    );
    return Effect.gen(function* () {
      yield* (yield* RunnerPool).warm;
      yield* yieldUntil(() => requests === 3);
    }).pipe(provide);
  });

  it.effect("record what jobs import, the most recent first", () => {
    const { profile, provide } = setUp(
      ["old"],
      [
        {
          ...well,
          call: (runner, id) => {
            runner.respond(id);
            runner.report({
              event: "used",
              modules: ["torch", "google.protobuf", "../no", ""],
              folders: ["lib/torch", "../no"],
            });
          },
        },
      ],
    );
    return Effect.gen(function* () {
      yield* TestClock.adjust("1 minute");
      yield* (yield* RunnerPool).call(call);
      yield* yieldUntil(() => profile.current().modules.length === 3);
      assert.deepStrictEqual(
        profile.current().modules.map(({ name, usedAt }) => [name, usedAt]),
        [
          ["torch", 60_000],
          ["google.protobuf", 60_000],
          ["old", 0],
        ],
      );
      assert.deepStrictEqual(profile.current().folders, ["lib/torch"]);
    }).pipe(provide);
  });

  it.effect("that fail are not tried again, and their output is only logged at debug level", () => {
    const { profile, provide } = setUp(
      ["torch"],
      [
        {
          ...well,
          imports: (runner) => {
            runner.report({ event: "started", module: "torch" });
            runner.report(ended("torch", { error: "ImportError: no CUDA", output: "hello\n" }));
            runner.report({ event: "done" });
          },
        },
      ],
    );
    const logs = keptLogs();
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      yield* runner.warm;
      yield* yieldUntil(() => profile.current().modules[0]?.failure !== undefined);
      assert.strictEqual(profile.current().modules[0]?.failure, "ImportError: no CUDA");
      assert.isEmpty(logs.warnings());
      assert.strictEqual((yield* runner.call(call)).output, "");
    }).pipe(provide, Effect.provide(logs.layer));
  });

  it.effect("that end the process are not tried again, and another process is started", () => {
    const requests: Array<ReadonlyArray<string>> = [];
    const { started, profile, provide } = setUp(
      ["bad", "good"],
      [crashing, { ...well, imports: (_, modules) => requests.push(modules) }],
    );
    return Effect.gen(function* () {
      yield* (yield* RunnerPool).warm;
      yield* yieldUntil(() => requests.length === 1);
      assert.lengthOf(started, 2);
      assert.deepStrictEqual(requests, [["good"]]);
      assert.strictEqual(
        profile.current().modules[0]?.failure,
        "it ended the process with SIGSEGV",
      );
    }).pipe(provide);
  });

  it.effect("stop in this worker after three processes have ended", () => {
    const { started, provide } = setUp(["a", "b", "c", "d"], [crashing]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      yield* runner.warm;
      yield* yieldUntil(() => started.length === 4);
      assert.strictEqual(textOf((yield* runner.call(call)).value), "pickle");
      assert.lengthOf(started, 4);
    }).pipe(provide);
  });

  it.effect("that end the process while a job waits for it do not fail the job", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<FakeProcess>();
      const { started, profile, provide } = setUp(
        ["bad"],
        [
          hanging(begun, {
            call: (runner) => {
              runner.print("Fatal Python error: Segmentation fault\n");
              runner.end({ signal: "SIGSEGV" });
            },
          }),
          well,
        ],
      );
      yield* Effect.gen(function* () {
        const runner = yield* RunnerPool;
        yield* runner.warm;
        yield* Deferred.await(begun);
        const outcome = yield* runner.call(call);
        assert.deepStrictEqual([textOf(outcome.value), outcome.output], ["pickle", ""]);
        assert.lengthOf(started, 2);
        yield* yieldUntil(() => profile.current().modules[0]?.failure !== undefined);
      }).pipe(provide);
    }),
  );

  it.effect(
    "that do not end are stopped, and a job that waits for them runs in another process",
    () =>
      Effect.gen(function* () {
        const begun = yield* Deferred.make<FakeProcess>();
        const { started, profile, provide } = setUp(
          ["slow"],
          [hanging(begun, { call: () => {} }), well],
          { WORKER_IDLE_IMPORTS: "10" },
        );
        yield* Effect.gen(function* () {
          const runner = yield* RunnerPool;
          yield* runner.warm;
          yield* Deferred.await(begun);
          const waiting = yield* Effect.forkChild(runner.call(call));
          yield* TestClock.adjust("39 seconds");
          assert.lengthOf(started, 1);
          yield* TestClock.adjust("1 second");
          assert.strictEqual(textOf((yield* Fiber.join(waiting)).value), "pickle");
          assert.lengthOf(started, 2);
          yield* yieldUntil(() => profile.current().modules[0]?.failure !== undefined);
          assert.strictEqual(profile.current().modules[0]?.failure, "it did not end within 40s");
        }).pipe(provide);
      }),
  );

  it.effect("are not the cause if a cancelled job that waited for them ends the process", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<FakeProcess>();
      const { started, profile, provide } = setUp(
        ["slow"],
        [hanging(begun, { call: () => {} }), well],
      );
      yield* Effect.gen(function* () {
        const runner = yield* RunnerPool;
        yield* runner.warm;
        yield* Deferred.await(begun);
        const waiting = yield* Effect.forkChild(runner.call(call));
        yield* Effect.yieldNow;
        const stopping = yield* Effect.forkChild(Fiber.interrupt(waiting));
        yield* TestClock.adjust("1 minute");
        yield* Fiber.join(stopping);
        yield* runner.call(call);
        assert.lengthOf(started, 2);
        assert.isUndefined(profile.current().modules[0]?.failure);
      }).pipe(provide);
    }),
  );

  it.effect("can't be forged by a job", () => {
    const { profile, started, provide } = setUp(
      ["torch"],
      [
        {
          ...well,
          imports: importing,
          call: (runner) => {
            runner.report({ event: "started", module: "torch" });
            runner.report(ended("torch", { error: "forged" }));
            runner.end({ code: 1 });
          },
        },
      ],
    );
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      yield* runner.warm;
      yield* yieldUntil(() => profile.current().modules[0]?.seconds === 2);
      const error = yield* Effect.flip(runner.call(call));
      assert.strictEqual(error._tag, "RunnerCrashed");
      assert.isUndefined(profile.current().modules[0]?.failure);
      assert.isAtMost(started.length, 2);
    }).pipe(provide);
  });
});
