import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Exit, Fiber, Layer } from "effect";
import { TestClock } from "effect/testing";

import { SystemInstallFailed } from "../../../src/dependencies/apt/SystemInstallFailed.ts";
import { outputOf } from "../../../src/runner/RunnerError.ts";
import { RunnerLauncher } from "../../../src/runner/RunnerLauncher.ts";
import { RunnerPool } from "../../../src/runner/RunnerPool.ts";
import type { Call } from "../../../src/runner/call/Call.ts";
import type { PreloadCall } from "../../../src/runner/preload/Preload.ts";
import { yieldUntil } from "../../support/effects/Waiting.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { callMeta, instanceOf } from "../../support/fakes/FakeCalls.ts";
import {
  type Behaviour,
  type FakeProcess,
  prepared,
  textOf,
  well,
  withFakeRunners,
} from "../../support/fakes/FakeRunner.ts";

const call: Call = { meta: callMeta, blobs: [], workspace: prepared };

const pool = RunnerPool.layerNoDeps.pipe(Layer.provide(RunnerLauncher.layerNoDeps));

const PRELOAD: PreloadCall = {
  name: "load.json",
  install: Effect.succeed,
  call: { meta: { ...callMeta, name: "preload" }, blobs: [] },
};

const nameOf = (meta: object): unknown => ("name" in meta ? meta.name : undefined);

/** A process with these reactions to WORKER_PRELOAD and to jobs; it notes the names of its calls. */
const processWith = (
  names: Array<unknown>,
  preload: (runner: FakeProcess, id: number) => void = (runner, id) => runner.respond(id),
  more: Behaviour = {},
): Behaviour => ({
  ...well,
  call: (runner, id, meta) => {
    names.push(nameOf(meta));
    if (nameOf(meta) === "preload") preload(runner, id);
    else runner.respond(id);
  },
  ...more,
});

const setUp = (
  behaviours: ReadonlyArray<Behaviour>,
  preload: Partial<PreloadCall> = {},
  variables: Readonly<Record<string, string>> = {},
) => withFakeRunners(pool, behaviours, variables, { preload: { ...PRELOAD, ...preload } });

const FAILURE = {
  ok: false,
  error: {
    kind: "exception",
    type: "ValueError",
    message: "no weights",
    traceback: "Traceback of the model",
  },
} as const;

const failing = (runner: FakeProcess, id: number) => {
  runner.print("loading\n");
  runner.respond(id, FAILURE);
};

describe("WORKER_PRELOAD", () => {
  it.effect("runs once in each process before its first job, but not before it is needed", () => {
    const names: Array<unknown> = [];
    const { started, provide } = setUp([processWith(names)], {}, { WORKER_CONCURRENCY: "2" });
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      yield* runner.warmOne;
      assert.isEmpty(names);
      yield* runner.warm;
      yield* runner.warm;
      assert.deepStrictEqual(names, ["preload", "preload"]);
      yield* runner.call(call);
      assert.deepStrictEqual(names, ["preload", "preload", "f"]);
      assert.lengthOf(started, 2);
    }).pipe(provide);
  });

  it.effect(
    "runs before a job that comes first, and again in a process that replaces another",
    () => {
      const names: Array<unknown> = [];
      const { provide } = setUp([
        processWith(names, undefined, {
          call: (runner, id, meta) => {
            names.push(nameOf(meta));
            if (nameOf(meta) === "preload") runner.respond(id);
            else runner.end({ signal: "SIGSEGV" });
          },
        }),
        processWith(names),
      ]);
      return Effect.gen(function* () {
        const runner = yield* RunnerPool;
        yield* Effect.flip(runner.call(call));
        yield* yieldUntil(() => names.length === 3);
        assert.strictEqual(textOf((yield* runner.call(call)).value), "pickle");
        assert.deepStrictEqual(names, ["preload", "f", "preload", "f"]);
      }).pipe(provide);
    },
  );

  it.effect("keeps its instances for jobs, and logs its output", () => {
    const names: Array<unknown> = [];
    const meta = { ...callMeta, name: "preload", kind: "class", instanceId: "model" } as const;
    const { provide } = setUp(
      [
        processWith(names, (runner, id) => {
          runner.print("loading weights\n");
          runner.respond(id, { instance: instanceOf("model") });
        }),
        processWith(names),
      ],
      { call: { meta, blobs: [] } },
      { WORKER_CONCURRENCY: "2" },
    );
    const logs = keptLogs();
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      yield* runner.warmOne;
      const outcome = yield* runner.call(call);
      assert.strictEqual(outcome.output, "");
      assert.include(logs.notices().join("\n"), "preload: loading weights");
      assert.deepStrictEqual(names, ["preload", "f"]);
    }).pipe(provide, Effect.provide(logs.layer));
  });

  it.effect("need not return a value that can be sent", () => {
    const names: Array<unknown> = [];
    const { provide } = setUp([
      processWith(names, (runner, id) =>
        runner.respond(id, { ok: false, error: { ...FAILURE.error, kind: "result" } }),
      ),
    ]);
    return Effect.gen(function* () {
      yield* (yield* RunnerPool).call(call);
      assert.deepStrictEqual(names, ["preload", "f"]);
    }).pipe(provide);
  });

  it.effect.each<readonly [string, (runner: FakeProcess, id: number) => void, string]>([
    ["an exception", failing, "ValueError: no weights\n\nTraceback of the model"],
    [
      "a crash",
      (runner) => {
        runner.print("loading\n");
        runner.end({ signal: "SIGSEGV" });
      },
      "The Python process was killed by SIGSEGV",
    ],
  ])("is tried again by the next job after %s, which is the error of the job", ([, fail, text]) => {
    const names: Array<unknown> = [];
    let failures = 2;
    const { provide } = setUp([
      processWith(names, (runner, id) => {
        failures -= 1;
        if (failures < 0) runner.respond(id);
        else fail(runner, id);
      }),
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      for (const attempt of [1, 2]) {
        const error = yield* Effect.flip(runner.call(call));
        assert.strictEqual(error._tag, "PreloadFailed", `attempt ${attempt}`);
        assert.include(error.message, `WORKER_PRELOAD (load.json) failed`);
        assert.include(error.message, text);
        assert.strictEqual(outputOf(error), "loading\n");
      }
      assert.strictEqual(textOf((yield* runner.call(call)).value), "pickle");
      assert.deepStrictEqual(names, ["preload", "preload", "preload", "f"]);
    }).pipe(provide);
  });

  it.effect("fails a job if what it requires can't be installed", () => {
    const failure = new SystemInstallFailed({
      reason: "unknown",
      packages: ["x"],
      output: "",
    });
    const { started, provide } = setUp([well], { install: () => Effect.fail(failure) });
    return Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.flatMap(RunnerPool, (runner) => runner.call(call)));
      assert.include(error.message, failure.message);
      assert.isEmpty(started);
    }).pipe(provide);
  });

  it.effect("is stopped by the timeout of jobs", () => {
    const { provide } = setUp([{ ...well, call: () => {} }], {}, { WORKER_JOB_TIMEOUT: "10" });
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      const job = yield* Effect.forkChild(Effect.flip(runner.call(call)));
      yield* TestClock.adjust("1 minute");
      const error = yield* Fiber.join(job);
      assert.strictEqual(error._tag, "PreloadFailed");
      assert.include(error.message, "WORKER_JOB_TIMEOUT");
    }).pipe(provide);
  });

  it.effect("that fails while a job waits for it is not tried again for this job", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<() => void>();
      const names: Array<unknown> = [];
      const { provide } = setUp([
        processWith(names, (runner, id) =>
          Deferred.doneUnsafe(
            begun,
            Exit.succeed(() => failing(runner, id)),
          ),
        ),
      ]);
      yield* Effect.gen(function* () {
        const runner = yield* RunnerPool;
        const warming = yield* Effect.forkChild(Effect.flip(runner.warm));
        const fail = yield* Deferred.await(begun);
        const job = yield* Effect.forkChild(Effect.flip(runner.call(call)));
        yield* Effect.yieldNow;
        fail();
        assert.strictEqual((yield* Fiber.join(warming))._tag, "PreloadFailed");
        assert.strictEqual((yield* Fiber.join(job))._tag, "PreloadFailed");
        assert.deepStrictEqual(names, ["preload"]);
      }).pipe(provide);
    }),
  );
});
