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
  fakeRunners,
  fakeWorkspace,
  prepared,
  surroundings,
  textOf,
  well,
} from "../support/fakes/FakeRunner.ts";
import { leaksOf } from "../support/values/Leaks.ts";

const KEY = "rpa_Zq81mXw3Vt60bLk9Ys";

const call: Call = { meta: callMeta, blobs: [], workspace: prepared };

/** The call when so many installs came after the process was started. */
const after = (installs: number): Call => ({
  ...call,
  workspace: { ...prepared, generation: prepared.generation + installs },
});

const setUp = (
  behaviours: ReadonlyArray<Behaviour>,
  variables: Readonly<Record<string, string>> = {},
) => {
  const runners = fakeRunners(...behaviours);
  const workspace = fakeWorkspace();
  const layer = RunnerPool.layerNoDeps.pipe(
    Layer.provide(RunnerLauncher.layerNoDeps),
    Layer.provide([runners.layer, workspace.layer]),
    Layer.provide(surroundings(variables)),
  );
  return { started: runners.started, evidence: workspace.evidence, provide: Effect.provide(layer) };
};

/** A runner that never answers a call, but says that it has begun. */
const stuck = (begun: Deferred.Deferred<void>, more: Behaviour = {}): Behaviour => ({
  ...well,
  call: () => Deferred.doneUnsafe(begun, Exit.void),
  ...more,
});

/** A call of an instance. */
const of = (id: string): Call => ({
  ...call,
  meta: { ...call.meta, kind: "class", instanceId: id },
});

const value = (outcome: Pick<CallOutcome, "value">) => textOf(outcome.value);

/** Processes that answer with their number, which is that of their start, when the gate is open. */
const numbered = (count: number, gate?: Deferred.Deferred<void>): ReadonlyArray<Behaviour> =>
  Array.from({ length: count }, (_, number) => ({
    ...well,
    call: (runner, id, meta) => {
      const instance =
        "instanceId" in meta && typeof meta.instanceId === "string"
          ? instanceOf(meta.instanceId)
          : null;
      const answer = () => runner.answer(id, { instance }, String(number));
      if (gate === undefined) answer();
      else Effect.runFork(Effect.map(Deferred.await(gate), answer));
    },
  }));

describe("RunnerPool", () => {
  it.effect("starts one process on first need and serves every call with it", () => {
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

  it.effect("lets a process refresh its caches once after packages were installed", () => {
    const told: Array<unknown> = [];
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id, meta) => {
          told.push("refresh" in meta ? meta.refresh : undefined);
          runner.answer(id);
        },
      },
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      for (const installs of [0, 1, 1, 3, 2]) yield* runner.call(after(installs));
      yield* runner.call(call);
      assert.deepStrictEqual(told, [false, true, false, true, false, false]);
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
            runner.answer(id);
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
    "returns the output with notes on lines of their own, and reports its lines as they come",
    () => {
      const { provide } = setUp([
        {
          ...well,
          call: (runner, id) => {
            runner.print("one\ntw");
            runner.print("o");
            runner.answer(id, { notes: ["Something to know."] });
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

  it.effect("masks notes and names of threads before it shortens them", () => {
    const password = "a-password-of-a-job";
    const names = [KEY, `${"x".repeat(70)} https://me:${password}@host/`];
    const { provide } = setUp(
      [
        {
          ...well,
          call: (runner, id) =>
            runner.answer(id, {
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

  it.effect("masks what leftover threads print between two calls", () => {
    const logs = keptLogs();
    let print: ((text: string) => void) | undefined;
    const { provide } = setUp(
      [
        {
          ...well,
          call: (runner, id) => {
            ({ print } = runner);
            runner.answer(id, { threads: ["one"] });
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
      assert.include(logs.notices().join(), "leftover threads: the key is ***");
      assert.isEmpty(leaksOf(KEY, logs.notices().join() + output));
    }).pipe(provide, Effect.provide(logs.layer));
  });

  it.effect("reports a crash with its output, and starts a new process for the next call", () => {
    const { started, provide } = setUp([
      {
        ...well,
        call: (runner) => {
          runner.print("last words");
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
      assert.strictEqual("output" in error ? error.output : "", "last words");
      yield* runner.call(call);
      assert.lengthOf(started, 2);
    }).pipe(provide);
  });

  it.effect("reports when a process was started for a call, and not when there was one", () => {
    let end: (() => void) | undefined;
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id) => {
          end = () => runner.end({ signal: "SIGKILL" });
          runner.answer(id);
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
          runner.answer(id);
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
    "replaces a process with a CUDA error, and explains what became of its instances",
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
            runner.answer(id, { instance, poisoned: "CUDA error: device-side assert" }),
        },
        { ...well, call: (runner, id) => runner.answer(id, { instance }) },
      ]);
      return Effect.gen(function* () {
        const runner = yield* RunnerPool;
        let told = 0;
        const first = Effect.provideService(
          runner.call(of("Model_1")),
          JobListener,
          listenerOf({
            GpuLost: () => (told += 1),
          }),
        );
        assert.include((yield* first).output, "device-side assert");
        assert.strictEqual(told, 1);
        assert.include(
          (yield* runner.call(of("Model_1"))).output,
          "Instance Model_1 was built anew",
        );
        assert.notInclude((yield* runner.call(of("Model_1"))).output, "built anew");
        assert.lengthOf(started, 2);
      }).pipe(provide);
    },
  );

  it.effect("interrupts a call at its limit, and fails it when it stopped", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>();
      const { started, provide } = setUp(
        [
          stuck(begun, {
            interrupt: (runner, id) =>
              runner.answer(id, {
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

  it.effect("returns the value of a call that ends by itself while it is being stopped", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>();
      const { provide } = setUp(
        [stuck(begun, { interrupt: (runner, id) => runner.answer(id, {}, "partial") })],
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

  it.effect("kills what does not stop within the grace time", () =>
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

  it.effect(
    "stops the code when the call is interrupted, and starts the next call after that",
    () =>
      Effect.gen(function* () {
        const begun = yield* Deferred.make<void>();
        const stopped: Array<number> = [];
        const { provide } = setUp([
          {
            ...well,
            call: (runner, id) => {
              if (id === 1) Deferred.doneUnsafe(begun, Exit.void);
              else runner.answer(id, {}, `after ${stopped.join()}`);
            },
            interrupt: (runner, id) => {
              stopped.push(id);
              runner.answer(id);
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

  it.effect("shows the first notes of a process only, and the beginning of a long one", () => {
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id) => runner.answer(id, { notes: Array(150).fill("n".repeat(10_000)) }),
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

  it.effect("adds a few short names of leftover threads to the output of the next job", () => {
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id) =>
          runner.answer(id, {
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

  it.effect("keeps the end of what threads write between two jobs within a limit", () => {
    const logs = keptLogs();
    let print: ((text: string) => void) | undefined;
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id) => {
          print = runner.print;
          runner.answer(id, { threads: ["leftover"] });
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

  it.effect("remembers only the last 1024 lost instances", () => {
    let end: (() => void) | undefined;
    const { provide } = setUp([
      {
        ...well,
        call: (runner, id, meta) => {
          const name = "instanceId" in meta ? String(meta.instanceId) : "";
          end = () => runner.end({ signal: "SIGKILL" });
          runner.answer(id, { instance: instanceOf(name), instances: 2000 });
        },
      },
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      for (let index = 0; index < 1100; index += 1) yield* runner.call(of(`C_${index}`));
      end?.();
      assert.strictEqual((yield* runner.call(of("C_0"))).output, "");
      assert.include((yield* runner.call(of("C_1099"))).output, "Instance C_1099 was built anew");
    }).pipe(provide);
  });

  it.effect.each([
    ["that is no result", { ok: "perhaps" }],
    ["whose instance has a name of 1000 characters", { instance: instanceOf("x".repeat(1000)) }],
  ] as const)("refuses an answer %s", ([, changes]) => {
    const { provide } = setUp([
      { ...well, call: (runner, id) => runner.answer(id, changes) },
      well,
    ]);
    return Effect.gen(function* () {
      const runner = yield* RunnerPool;
      const method: Call = { ...call, meta: { ...call.meta, kind: "class" } };
      assert.strictEqual((yield* Effect.flip(runner.call(method)))._tag, "RunnerUnavailable");
      yield* runner.call(method);
    }).pipe(provide);
  });

  it.effect("expects the frames of a call and of the one before, within their limits", () => {
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
          runner.answer(id);
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
          const answers = yield* Effect.forEach(fibers, Fiber.join);
          assert.sameMembers(answers.map(value), ["0", "1", "2"]);
        }).pipe(provide);
      }),
    );

    it.effect("runs a call that has installed packages beside one that is running", () =>
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
                runner.answer(id);
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
          yield* runner.call(after(1));
          assert.deepStrictEqual(refreshed, [true]);
          assert.isUndefined(running.pollUnsafe());
        }).pipe(provide);
      }),
    );

    it.effect(
      "sends calls of an instance to the process that has it, also while it is being built",
      () =>
        Effect.gen(function* () {
          const { provide } = setUp(numbered(3), THREE);
          yield* Effect.gen(function* () {
            const runner = yield* RunnerPool;
            const ids = ["a", "b", "c", "a", "b", "c", "a"];
            const answers = yield* Effect.forEach(ids, (id) => runner.call(of(id)), {
              concurrency: "unbounded",
            });
            const places = new Map(
              ids.map((id, index) => [id, value(answers[index] ?? { value: undefined })]),
            );
            assert.strictEqual(new Set(places.values()).size, 3);
            for (const [index, id] of ids.entries()) {
              assert.strictEqual(value(answers[index] ?? { value: undefined }), places.get(id));
            }
            assert.strictEqual(value(yield* runner.call(of("b"))), places.get("b"));
          }).pipe(provide);
        }),
    );

    it.effect("does not count an interrupted call as running, whenever it was interrupted", () =>
      interruptedAtEveryStep((interrupted, about) => {
        const { started, provide } = setUp(numbered(3), THREE);
        return Effect.gen(function* () {
          const runner = yield* RunnerPool;
          yield* runner.call(of("a"));
          yield* interrupted(runner.call(of("a")));
          yield* runner.call(call);
          assert.lengthOf(started, 1, about);
        }).pipe(provide);
      }),
    );

    it.effect("starts no second process for calls that come one after the other", () => {
      const { started, provide } = setUp(numbered(3), THREE);
      return Effect.gen(function* () {
        const runner = yield* RunnerPool;
        for (let turn = 0; turn < 4; turn += 1) yield* runner.call(call);
        assert.lengthOf(started, 1);
      }).pipe(provide);
    });
  });
});
