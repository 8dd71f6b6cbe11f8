import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Exit, Fiber, Layer } from "effect";
import { TestClock } from "effect/testing";

import { JobListener, listenerOf } from "../../src/domain/JobEvents.ts";
import { RunnerLauncher } from "../../src/runner/RunnerLauncher.ts";
import { RunnerPool } from "../../src/runner/RunnerPool.ts";
import { FrameType } from "../../src/runner/RunnerProtocol.ts";
import type { Call, CallOutcome } from "../../src/runner/call/Call.ts";
import { interruptedAtEveryStep } from "../support/effects/Interruption.ts";
import { keptLogs } from "../support/fakes/CapturedLogs.ts";
import { callMeta, instanceOf } from "../support/fakes/FakeCalls.ts";
import {
  type Behaviour,
  prepared,
  textOf,
  well,
  withFakeRunners,
} from "../support/fakes/FakeRunner.ts";
import { leaksOf } from "../support/values/Leaks.ts";

const KEY = "rpa_Zq81mXw3Vt60bLk9Ys";

const call: Call = { meta: callMeta, blobs: [], workspace: prepared };

/** The call after this number of installs. */
const callAfter = (installs: number): Call => ({
  ...call,
  workspace: { ...prepared, generation: prepared.generation + installs },
});

const pool = RunnerPool.layerNoDeps.pipe(Layer.provide(RunnerLauncher.layerNoDeps));

const setUp = (
  behaviours: ReadonlyArray<Behaviour>,
  variables?: Readonly<Record<string, string>>,
) => withFakeRunners(pool, behaviours, variables);

/** A runner that signals the start of a call and never responds. */
const stuck = (begun: Deferred.Deferred<void>, more: Behaviour = {}): Behaviour => ({
  ...well,
  call: () => Deferred.doneUnsafe(begun, Exit.void),
  ...more,
});

/** A call of an instance. */
const callOf = (id: string): Call => ({
  ...call,
  meta: { ...call.meta, kind: "class", instanceId: id },
});

const value = (outcome: Pick<CallOutcome, "value">) => textOf(outcome.value);

/** Processes that return their number, in the order of their starts, when the gate is open. */
const numbered = (count: number, gate?: Deferred.Deferred<void>): ReadonlyArray<Behaviour> =>
  Array.from({ length: count }, (_, number) => ({
    ...well,
    call: (runner, id, meta) => {
      const instance =
        "instanceId" in meta && typeof meta.instanceId === "string"
          ? instanceOf(meta.instanceId)
          : null;
      const respond = () => runner.respond(id, { instance }, String(number));
      if (gate === undefined) respond();
      else Effect.runFork(Effect.map(Deferred.await(gate), respond));
    },
  }));

describe("RunnerPool", () => {
  it.effect("starts one process for the first call and uses it for all calls", () => {
    const { started, provide } = setUp([well]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      assert.isEmpty(started);
      for (let turn = 0; turn < 3; turn += 1) {
        assert.strictEqual(value(yield* runner.call(call)), "pickle");
      }
      assert.lengthOf(started, 1);
      assert.strictEqual(started[0]?.directory, "/workspace");
    }).pipe(provide);
  });

  it.effect("requests one refresh of import caches after packages were installed", () => {
    const refreshes: Array<unknown> = [];
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id, meta) => {
          refreshes.push("refresh" in meta ? meta.refresh : undefined);
          runner.respond(id);
        },
      },
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      for (const installs of [0, 1, 1, 3, 2]) yield* runner.call(callAfter(installs));
      yield* runner.call(call);
      assert.deepStrictEqual(refreshes, [false, true, false, true, false, false]);
    }).pipe(provide);
  });

  it.effect("runs calls one after the other", () => {
    const order: Array<string> = [];
    let busy = false;
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id) => {
          assert.isFalse(busy);
          busy = true;
          order.push(`begin ${id}`);
          queueMicrotask(() => {
            busy = false;
            order.push(`end ${id}`);
            runner.respond(id);
          });
        },
      },
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      yield* Effect.all([runner.call(call), runner.call(call)], { concurrency: "unbounded" });
      assert.deepStrictEqual(order, ["begin 1", "end 1", "begin 2", "end 2"]);
    }).pipe(provide);
  });

  it.effect(
    "returns the output with one note per line, and reports its lines while the call runs",
    () => {
      const { provide } = setUp([
        {
          ...well,
          call: (runner, id) => {
            runner.print("one\ntw");
            runner.print("o");
            runner.respond(id, { notes: ["Something to know."] });
          },
        },
      ]);
      const lines: Array<string> = [];
      return Effect.gen(function* () {
        const runner = yield* RunnerPool;
        const outcome = yield* runner
          .call(call)
          .pipe(
            Effect.provideService(
              JobListener,
              listenerOf({ OutputWritten: ({ lines: text }) => lines.push(text) }),
            ),
          );
        assert.strictEqual(outcome.output, "one\ntwo\n[worker-tetra] Something to know.\n");
        assert.strictEqual(lines.join(""), "one\ntwo\n");
      }).pipe(provide);
    },
  );

  it.effect("masks notes and names of threads before it cuts them", () => {
    const password = "a-password-of-a-job";
    const names = [KEY, `${"x".repeat(70)} https://me:${password}@host/`];
    const { provide } = setUp(
      [
        {
          ...well,
          call: (runner, id) =>
            runner.respond(id, {
              notes: [KEY, `${"x".repeat(4070)}https://me:${password}@host/${"y".repeat(100)}`],
              threads: names,
            }),
        },
      ],
      { RUNPOD_API_KEY: KEY },
    );
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      const outputs = [yield* runner.call(call), yield* runner.call(call)].map(
        ({ output }) => output,
      );
      assert.include(outputs[0], "[worker-tetra] ***\n");
      assert.include(outputs[0], "more characters)");
      assert.include(outputs[1], "still running (***, x");
      for (const secret of [KEY, password]) assert.isEmpty(leaksOf(secret, outputs.join("")));
    }).pipe(provide);
  });

  it.effect("masks the output of leftover threads between two calls", () => {
    const logs = keptLogs();
    let print: ((text: string) => void) | undefined;
    const { provide } = setUp(
      [
        {
          ...well,
          call: (runner, id) => {
            ({ print } = runner);
            runner.respond(id, { threads: ["one"] });
          },
        },
      ],
      { RUNPOD_API_KEY: KEY },
    );
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      yield* runner.call(call);
      print?.(`the key is ${KEY}\n`);
      const { output } = yield* runner.call(call);
      assert.include(logs.notices().join(), "leftover threads between two jobs: the key is ***");
      assert.isEmpty(leaksOf(KEY, logs.notices().join() + output));
    }).pipe(provide, Effect.provide(logs.layer));
  });

  it.effect("reports a crash with its output, and starts a new process for the next call", () => {
    const { started, provide } = setUp([
      {
        ...well,
        call: (runner) => {
          runner.print("last output");
          runner.end({ signal: "SIGSEGV" });
        },
      },
      well,
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      const error = yield* Effect.flip(runner.call(call));
      assert.strictEqual(error._tag, "RunnerCrashed");
      assert.include(error.message, "SIGSEGV");
      assert.strictEqual("output" in error ? error.output : "", "last output");
      yield* runner.call(call);
      assert.lengthOf(started, 2);
    }).pipe(provide);
  });

  it.effect("reports the start of a process only for calls that start one", () => {
    let end: (() => void) | undefined;
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id) => {
          end = () => runner.end({ signal: "SIGKILL" });
          runner.respond(id);
        },
      },
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      let launched = 0;
      const next = Effect.provideService(
        runner.call(call),
        JobListener,
        listenerOf({
          ProcessStarted: () => (launched += 1),
        }),
      );
      yield* next;
      yield* next;
      assert.strictEqual(launched, 1);
      end?.();
      yield* next;
      assert.strictEqual(launched, 2);
    }).pipe(provide);
  });

  it.effect("replaces a process that ended between two calls", () => {
    let first: (() => void) | undefined;
    const { started, provide } = setUp([
      {
        ...well,
        call: (runner, id) => {
          runner.respond(id);
          first = () => runner.end({ signal: "SIGKILL" });
        },
      },
      well,
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      yield* runner.call(call);
      first?.();
      yield* runner.call(call);
      assert.lengthOf(started, 2);
    }).pipe(provide);
  });

  it.effect(
    "replaces a process after a CUDA error, and explains the loss of its instances once",
    () => {
      const instance = {
        id: "Model_1",
        class_name: "Model",
        created_at: "2030-01-01T00:00:00Z",
        method_calls: 1,
        last_used: "2030-01-01T00:00:00Z",
      };
      const { started, provide } = setUp([
        {
          ...well,
          call: (runner, id) =>
            runner.respond(id, { instance, poisoned: "CUDA error: device-side assert" }),
        },
        { ...well, call: (runner, id) => runner.respond(id, { instance }) },
      ]);
      return Effect.gen(function* () {
        const runner = yield* RunnerPool;
        let gpuLosses = 0;
        const first = Effect.provideService(
          runner.call(callOf("Model_1")),
          JobListener,
          listenerOf({
            GpuLost: () => (gpuLosses += 1),
          }),
        );
        assert.include((yield* first).output, "device-side assert");
        assert.strictEqual(gpuLosses, 1);
        assert.include(
          (yield* runner.call(callOf("Model_1"))).output,
          "Instance Model_1 was recreated",
        );
        assert.notInclude((yield* runner.call(callOf("Model_1"))).output, "recreated");
        assert.lengthOf(started, 2);
      }).pipe(provide);
    },
  );

  it.effect("interrupts a call at its timeout, and fails it when the code stopped", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>();
      const { started, provide } = setUp(
        [
          stuck(begun, {
            interrupt: (runner, id) =>
              runner.respond(id, {
                ok: false,
                error: {
                  kind: "cancelled",
                  type: "Cancelled",
                  message: "cancelled",
                  traceback: "",
                },
              }),
          }),
        ],
        { WORKER_JOB_TIMEOUT: "30" },
      );
      yield* Effect.gen(function* () {
        const runner = yield* RunnerPool;
        const fiber = yield* Effect.forkChild(Effect.flip(runner.call(call)));
        yield* Deferred.await(begun);
        yield* TestClock.adjust("29 seconds");
        assert.isUndefined(fiber.pollUnsafe());
        yield* TestClock.adjust("1 seconds");
        const error = yield* Fiber.join(fiber);
        assert.deepInclude(error, { _tag: "CallTimedOut", seconds: 30, killed: false });
        assert.lengthOf(started, 1);
      }).pipe(provide);
    }),
  );

  it.effect("returns the value of a call that completes while it is being interrupted", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>();
      const { provide } = setUp(
        [stuck(begun, { interrupt: (runner, id) => runner.respond(id, {}, "partial") })],
        { WORKER_JOB_TIMEOUT: "30" },
      );
      yield* Effect.gen(function* () {
        const runner = yield* RunnerPool;
        const fiber = yield* Effect.forkChild(runner.call(call));
        yield* Deferred.await(begun);
        yield* TestClock.adjust("30 seconds");
        assert.strictEqual(value(yield* Fiber.join(fiber)), "partial");
      }).pipe(provide);
    }),
  );

  it.effect("kills a process whose code does not stop within WORKER_CANCEL_GRACE", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>();
      let interrupts = 0;
      const { started, provide } = setUp(
        [
          stuck(begun, {
            interrupt: () => {
              interrupts += 1;
            },
          }),
          well,
        ],
        { WORKER_JOB_TIMEOUT: "30", WORKER_CANCEL_GRACE: "4" },
      );
      yield* Effect.gen(function* () {
        const runner = yield* RunnerPool;
        const fiber = yield* Effect.forkChild(Effect.flip(runner.call(call)));
        yield* Deferred.await(begun);
        yield* TestClock.adjust("30 seconds");
        assert.strictEqual(interrupts, 1);
        yield* TestClock.adjust("3 seconds");
        assert.strictEqual(interrupts, 2);
        assert.isUndefined(fiber.pollUnsafe());
        yield* TestClock.adjust("1 seconds");
        assert.deepInclude(yield* Fiber.join(fiber), { _tag: "CallTimedOut", killed: true });
        yield* runner.call(call);
        assert.lengthOf(started, 2);
      }).pipe(provide);
    }),
  );

  it.effect("stops the code of an interrupted call before it starts the next call", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>();
      const stopped: Array<number> = [];
      const { provide } = setUp([
        {
          ...well,
          call: (runner, id) => {
            if (id === 1) Deferred.doneUnsafe(begun, Exit.void);
            else runner.respond(id, {}, `after ${stopped.join()}`);
          },
          interrupt: (runner, id) => {
            stopped.push(id);
            runner.respond(id);
          },
        },
      ]);
      yield* Effect.gen(function* () {
        const runner = yield* RunnerPool;
        const fiber = yield* Effect.forkChild(runner.call(call));
        yield* Deferred.await(begun);
        const [, next] = yield* Effect.all([Fiber.interrupt(fiber), runner.call(call)], {
          concurrency: "unbounded",
        });
        assert.strictEqual(value(next), "after 1");
      }).pipe(provide);
    }),
  );

  it.effect("limits the number and the length of notes", () => {
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id) => runner.respond(id, { notes: Array(150).fill("n".repeat(10_000)) }),
      },
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      const { output } = yield* runner.call(call);
      const lines = output.trimEnd().split("\n");
      assert.lengthOf(lines, 101);
      assert.strictEqual(lines.at(-1), "[worker-tetra] 50 more notes");
      assert.isBelow(Math.max(...lines.map((line) => line.length)), 5000);
    }).pipe(provide);
  });

  it.effect("limits the names of leftover threads in the output of the next job", () => {
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id) =>
          runner.respond(id, {
            threads: id === 1 ? Array(200).fill(`a\nb${"x".repeat(5000)}`) : [],
          }),
      },
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      yield* runner.call(call);
      const { output } = yield* runner.call(call);
      assert.match(output, /^\[worker-tetra\] Threads .*\(a\?bx+, .*\n$/);
      assert.isBelow(output.length, 3000);
    }).pipe(provide);
  });

  it.effect("limits the logged output of leftover threads and keeps its end", () => {
    const logs = keptLogs();
    let print: ((text: string) => void) | undefined;
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id) => {
          print = runner.print;
          runner.respond(id, { threads: ["leftover"] });
        },
      },
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      yield* runner.call(call);
      for (let turn = 0; turn < 100; turn += 1) print?.("y".repeat(10_000));
      print?.("last");
      yield* runner.call(call);
      const [notice = ""] = logs.notices();
      assert.match(notice, /bytes of output left out here[^]*ylast$/);
      assert.isBelow(notice.length, 70_000);
    }).pipe(Effect.provide(logs.layer), provide);
  });

  it.effect("explains the loss of only the last 1024 instances", () => {
    let end: (() => void) | undefined;
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id, meta) => {
          const name = "instanceId" in meta ? String(meta.instanceId) : "";
          end = () => runner.end({ signal: "SIGKILL" });
          runner.respond(id, { instance: instanceOf(name), instances: 2000 });
        },
      },
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      for (let index = 0; index < 1100; index += 1) yield* runner.call(callOf(`C_${index}`));
      end?.();
      assert.strictEqual((yield* runner.call(callOf("C_0"))).output, "");
      assert.include(
        (yield* runner.call(callOf("C_1099"))).output,
        "Instance C_1099 was recreated",
      );
    }).pipe(provide);
  });

  it.effect.each([
    ["with an invalid field", { ok: "perhaps" }],
    ["with an instance id of 1000 characters", { instance: instanceOf("x".repeat(1000)) }],
  ] as const)("rejects a response %s", ([, changes]) => {
    const { provide } = setUp([
      { ...well, call: (runner, id) => runner.respond(id, changes) },
      well,
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      const method: Call = { ...call, meta: { ...call.meta, kind: "class" } };
      assert.strictEqual((yield* Effect.flip(runner.call(method)))._tag, "RunnerUnavailable");
      yield* runner.call(method);
    }).pipe(provide);
  });

  it.effect("accepts frames of the current and the previous call only, within their limits", () => {
    const seen: Array<ReadonlyArray<number | undefined>> = [];
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id) => {
          seen.push(
            [id, id - 1, id - 2].flatMap((call) =>
              [FrameType.result, FrameType.chunk].map((type) => runner.limitOf(type, call)),
            ),
          );
          seen.push([FrameType.ready, FrameType.call].map((type) => runner.limitOf(type, id)));
          runner.respond(id);
        },
      },
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      for (const limits of [{ limit: 100 }, { limit: 200, chunkLimit: 20 }, { limit: 300 }]) {
        yield* runner.call({ ...call, meta: { ...call.meta, ...limits } });
      }
      const none = undefined;
      assert.deepStrictEqual(seen, [
        [100, none, none, none, none, none],
        [none, none],
        [200, 20, 100, none, none, none],
        [none, none],
        [300, none, 200, 20, none, none],
        [none, none],
      ]);
    }).pipe(provide);
  });

  describe("with several processes", () => {
    const THREE = { WORKER_CONCURRENCY: "3" } as const;

    it.effect("runs three calls at the same time", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>();
        const { started, provide } = setUp(numbered(3, gate), THREE);
        yield* Effect.gen(function* () {
          const runner = yield* RunnerPool;
          const fibers = yield* Effect.forEach([1, 2, 3], () =>
            Effect.forkChild(runner.call(call)),
          );
          while (started.length < 3) yield* Effect.yieldNow;
          yield* Deferred.succeed(gate, undefined);
          const outcomes = yield* Effect.forEach(fibers, Fiber.join);
          assert.sameMembers(outcomes.map(value), ["0", "1", "2"]);
        }).pipe(provide);
      }),
    );

    it.effect("runs a call that installed packages while another call is running", () =>
      Effect.gen(function* () {
        const begun = yield* Deferred.make<void>();
        const refreshed: Array<unknown> = [];
        const { provide } = setUp(
          [
            stuck(begun),
            {
              ...well,
              call: (runner, id, meta) => {
                refreshed.push("refresh" in meta && meta.refresh);
                runner.respond(id);
              },
            },
          ],
          { WORKER_CONCURRENCY: "2" },
        );
        yield* Effect.gen(function* () {
          const runner = yield* RunnerPool;
          yield* runner.warm;
          const running = yield* Effect.forkChild(runner.call(call));
          yield* Deferred.await(begun);
          yield* runner.call(callAfter(1));
          assert.deepStrictEqual(refreshed, [true]);
          assert.isUndefined(running.pollUnsafe());
        }).pipe(provide);
      }),
    );

    it.effect("sends calls of an instance to the process that has it or is creating it", () =>
      Effect.gen(function* () {
        const { provide } = setUp(numbered(3), THREE);
        yield* Effect.gen(function* () {
          const runner = yield* RunnerPool;
          const ids = ["a", "b", "c", "a", "b", "c", "a"];
          const outcomes = yield* Effect.forEach(ids, (id) => runner.call(callOf(id)), {
            concurrency: "unbounded",
          });
          const processes = new Map(
            ids.map((id, index) => [id, value(outcomes[index] ?? { value: undefined })]),
          );
          assert.strictEqual(new Set(processes.values()).size, 3);
          for (const [index, id] of ids.entries()) {
            assert.strictEqual(value(outcomes[index] ?? { value: undefined }), processes.get(id));
          }
          assert.strictEqual(value(yield* runner.call(callOf("b"))), processes.get("b"));
        }).pipe(provide);
      }),
    );

    it.effect("does not count a call as running after an interruption at any step", () =>
      interruptedAtEveryStep((interrupted, about) => {
        const { started, provide } = setUp(numbered(3), THREE);
        return Effect.gen(function* () {
          const runner = yield* RunnerPool;
          yield* runner.call(callOf("a"));
          yield* interrupted(runner.call(callOf("a")));
          yield* runner.call(call);
          assert.lengthOf(started, 1, about);
        }).pipe(provide);
      }),
    );

    it.effect("uses one process for sequential calls", () => {
      const { started, provide } = setUp(numbered(3), THREE);
      return Effect.gen(function* () {
        const runner = yield* RunnerPool;
        for (let turn = 0; turn < 4; turn += 1) yield* runner.call(call);
        assert.lengthOf(started, 1);
      }).pipe(provide);
    });
  });
});
