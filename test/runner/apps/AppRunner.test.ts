import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Exit, Fiber } from "effect";
import { TestClock } from "effect/testing";

import { JobListener, listenerOf } from "../../../src/domain/JobEvents.ts";
import { AppRunner } from "../../../src/runner/apps/AppRunner.ts";
import { interruptedAtEveryStep, turns } from "../../support/effects/Interruption.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { app, opened, runJob, spec, withFakeApps } from "../../support/fakes/FakeAppProcesses.ts";
import type { Behaviour } from "../../support/fakes/FakeRunner.ts";

const all = <A, E, R>(effects: ReadonlyArray<Effect.Effect<A, E, R>>) =>
  Effect.all(effects, { concurrency: "unbounded" });

/** A process that signals the start of a job and does not end it. */
const stuck = (begun: Deferred.Deferred<void>, more: Parameters<typeof app>[0] = {}): Behaviour =>
  app({ call: () => Deferred.doneUnsafe(begun, Exit.void), ...more });

/** Serves on a socket, and reports when it is ready. */
const serving = (ready: Deferred.Deferred<void>) => ({
  socket: "/tmp/http.sock",
  ready: Effect.asVoid(Deferred.succeed(ready, undefined)),
});

const startError = {
  kind: "start",
  type: "ModuleNotFoundError",
  message: "No module named 'einops'",
  traceback: "",
  phase: "import",
  missing: "einops",
  systemDependencies: ["ffmpeg"],
} as const;

describe("AppRunner.open", () => {
  it.effect("starts one process in the folder of the app, which opens it", () => {
    const { started, provide } = withFakeApps([app()]);
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* (yield* AppRunner).open(spec), opened);
      assert.lengthOf(started, 1);
      assert.deepInclude(started[0], {
        directory: "/app",
        app: { resource: spec.resource, path: spec.path },
      });
    }).pipe(provide);
  });

  it.effect("fails with the reason if the app can't be imported", () => {
    const { started, provide } = withFakeApps([
      app({
        open: (runner, id) => runner.respond(id, { ok: false, error: startError }),
      }),
      app(),
    ]);
    return Effect.gen(function* () {
      const runner = yield* AppRunner;
      assert.deepInclude(yield* Effect.flip(runner.open(spec)), {
        _tag: "AppOpenFailed",
        phase: "import",
        type: "ModuleNotFoundError",
        message: "No module named 'einops'",
        missingModule: "einops",
        systemDependencies: ["ffmpeg"],
      });
      assert.deepInclude(yield* Effect.flip(runJob()), { _tag: "RunnerUnavailable" });
      yield* runner.open(spec);
      assert.strictEqual(yield* runJob(), "null");
      assert.lengthOf(started, 2);
    }).pipe(provide);
  });

  it.effect("rejects an invalid description of the app", () => {
    const { provide } = withFakeApps([
      app({ open: (runner, id) => runner.respond(id, {}, '{"overlaps": 1}') }),
    ]);
    return Effect.gen(function* () {
      assert.deepInclude(yield* Effect.flip((yield* AppRunner).open(spec)), {
        _tag: "RunnerUnavailable",
        reason: "sent an invalid response",
      });
    }).pipe(provide);
  });

  it.effect("ends the processes of the previous app first", () => {
    const { started, provide } = withFakeApps([app({ call: () => {} }), app()]);
    return Effect.gen(function* () {
      const runner = yield* AppRunner;
      yield* runner.open(spec);
      const running = yield* Effect.forkChild(runJob(), { startImmediately: true });
      yield* runner.open(spec);
      assert.deepInclude(yield* Effect.flip(Fiber.join(running)), { _tag: "RunnerCrashed" });
      assert.lengthOf(started, 2);
      assert.strictEqual(yield* runJob(), "null");
    }).pipe(provide);
  });

  it.effect("logs the output of the app between jobs", () => {
    const logs = keptLogs();
    const prints: Array<() => void> = [];
    const { provide } = withFakeApps([
      app({
        call: (runner, id) => {
          runner.print("of the job\n");
          runner.respond(id, {}, "1");
          prints.push(() => runner.print("of a thread\n"));
        },
      }),
    ]);
    return Effect.gen(function* () {
      yield* (yield* AppRunner).open(spec);
      yield* runJob();
      for (const print of prints) print();
      assert.deepStrictEqual(logs.notices(), ["app: of a thread"]);
    }).pipe(provide, Effect.provide(logs.layer));
  });
});

describe("AppRunner.job, with a synchronous app", () => {
  it.effect("uses an open process if one is idle, and starts others up to the concurrency", () => {
    const waiting: Array<() => void> = [];
    const { started, provide } = withFakeApps([
      app({ call: (runner, id) => waiting.push(() => runner.respond(id, {}, "1")) }),
    ]);
    return Effect.gen(function* () {
      yield* (yield* AppRunner).open(spec);
      for (const [jobs, running, processes] of [
        [1, 1, 1],
        [1, 1, 1],
        [2, 2, 2],
        [5, 3, 3],
      ] as const) {
        const fiber = yield* Effect.forkChild(all(Array.from({ length: jobs }, () => runJob())));
        yield* turns(100);
        assert.lengthOf(waiting, running);
        assert.lengthOf(started, processes);
        while (waiting.length > 0) {
          for (const respond of waiting.splice(0)) respond();
          yield* turns(100);
        }
        yield* Fiber.join(fiber);
      }
    }).pipe(provide);
  });

  it.effect("runs all jobs in one process if only one may have the app", () => {
    const { started, provide } = withFakeApps([app({ opened: { isSingleton: true } })]);
    return Effect.gen(function* () {
      yield* (yield* AppRunner).open(spec);
      yield* all([runJob(), runJob(), runJob()]);
      assert.lengthOf(started, 1);
    }).pipe(provide);
  });

  it.effect("fails if the process crashes, and opens the app again in the background", () => {
    const { started, provide } = withFakeApps([
      app({
        call: (runner) => {
          runner.print("before");
          runner.end({ signal: "SIGSEGV" });
        },
      }),
      app(),
    ]);
    return Effect.gen(function* () {
      yield* (yield* AppRunner).open({ ...spec, concurrency: 1 });
      assert.deepInclude(yield* Effect.flip(runJob()), {
        _tag: "RunnerCrashed",
        signal: "SIGSEGV",
        output: "before",
      });
      yield* turns(200);
      assert.lengthOf(started, 2);
      assert.strictEqual(yield* runJob(), "null");
      assert.lengthOf(started, 2);
    }).pipe(provide);
  });

  it.effect("opens the app again if the process ended between two jobs", () => {
    const ends: Array<() => void> = [];
    const { started, provide } = withFakeApps([
      app({
        call: (runner, id) => {
          ends.push(() => runner.end({ code: 1 }));
          runner.respond(id, {}, "1");
        },
      }),
      app({ open: (runner, id) => runner.respond(id, { ok: false, error: startError }) }),
      app(),
    ]);
    return Effect.gen(function* () {
      yield* (yield* AppRunner).open({ ...spec, concurrency: 1 });
      yield* runJob();
      for (const end of ends) end();
      assert.deepInclude(yield* Effect.flip(runJob()), { _tag: "AppOpenFailed" });
      assert.strictEqual(yield* runJob(), "null");
      assert.lengthOf(started, 3);
    }).pipe(provide);
  });

  it.effect("replaces the process after a CUDA error, and reports the loss of the GPU", () => {
    const events: Array<string> = [];
    const { started, provide } = withFakeApps([
      app({ call: (runner, id) => runner.respond(id, { poisoned: "device-side assert" }, "1") }),
      app(),
    ]);
    return Effect.gen(function* () {
      yield* (yield* AppRunner).open({ ...spec, concurrency: 1 });
      const { output } = yield* (yield* AppRunner)
        .job({ input: Buffer.from("{}"), limit: 10 })
        .pipe(
          Effect.provideService(JobListener, listenerOf({ GpuLost: () => events.push("lost") })),
        );
      assert.match(output, /device-side assert/);
      assert.deepStrictEqual(events, ["lost"]);
      yield* runJob();
      assert.lengthOf(started, 2);
    }).pipe(provide);
  });

  it.effect("can be interrupted at every step, and the next job succeeds", () =>
    interruptedAtEveryStep((interrupted, about) => {
      const { provide } = withFakeApps([app()]);
      return Effect.gen(function* () {
        yield* (yield* AppRunner).open({ ...spec, concurrency: 1 });
        yield* interrupted(runJob());
        assert.strictEqual(yield* runJob(), "null", about);
      }).pipe(provide);
    }),
  );
});

describe("AppRunner.job, with an asynchronous app", () => {
  const overlapping = { overlaps: true } as const;

  it.effect("overlaps up to the concurrency, and separates output, items and values", () => {
    const responds: Array<() => void> = [];
    const { started, provide } = withFakeApps([
      app({
        opened: overlapping,
        call: (runner, id) => {
          runner.printIn(id, `job ${id}\n`);
          // The first call opened the app.
          if (id < 4) return;
          for (const job of [4, 2, 3]) {
            responds.push(() => {
              runner.yieldIn(job, String(job));
              runner.respond(job, {}, String(job));
            });
          }
        },
      }),
    ]);
    return Effect.gen(function* () {
      const runner = yield* AppRunner;
      yield* runner.open(spec);
      const chunks: Array<string | undefined> = [];
      const job = runner.job({
        input: Buffer.from("{}"),
        limit: 100,
        chunkLimit: 100,
        chunk: (item) => chunks.push(item?.text()),
      });
      const jobs = yield* Effect.forkChild(all([job, job, job]));
      yield* turns(100);
      for (const respond of responds) respond();
      const outcomes = yield* Fiber.join(jobs);
      assert.deepStrictEqual(
        outcomes.map(({ value, output }) => [value?.text(), output]),
        [2, 3, 4].map((id) => [String(id), `job ${id}\n`]),
      );
      assert.deepStrictEqual(chunks, ["4", "2", "3"]);
      assert.lengthOf(started, 1);
    }).pipe(provide);
  });

  it.effect("cancels only the interrupted job", () => {
    const cancelled: Array<number> = [];
    const responds: Array<() => void> = [];
    const { started, provide } = withFakeApps([
      app({
        opened: overlapping,
        call: (runner, id) => responds.push(() => runner.respond(id, {}, String(id))),
        cancel: (runner, id) => {
          cancelled.push(id);
          const error = { kind: "cancelled", type: "CancelledError", message: "", traceback: "" };
          runner.respond(id, { ok: false, error });
        },
        interrupt: () => assert.fail("interrupted all jobs"),
      }),
    ]);
    return Effect.gen(function* () {
      yield* (yield* AppRunner).open(spec);
      const first = yield* Effect.forkChild(runJob());
      yield* turns(50);
      const second = yield* Effect.forkChild(runJob());
      yield* turns(50);
      yield* Fiber.interrupt(first);
      assert.deepStrictEqual(cancelled, [2]);
      responds[1]?.();
      assert.strictEqual(yield* Fiber.join(second), "3");
      assert.lengthOf(started, 1);
    }).pipe(provide);
  });

  it.effect("replaces the process of a job that does not stop when the others have ended", () => {
    const responds: Array<() => void> = [];
    const { started, provide } = withFakeApps(
      [
        app({
          opened: overlapping,
          call: (runner, id) => responds.push(() => runner.respond(id, {}, String(id))),
        }),
        app({ opened: overlapping }),
      ],
      { WORKER_CANCEL_GRACE: "2" },
    );
    return Effect.gen(function* () {
      yield* (yield* AppRunner).open(spec);
      const stubborn = yield* Effect.forkChild(runJob());
      const other = yield* Effect.forkChild(runJob());
      yield* turns(100);
      const stopping = yield* Effect.forkChild(Fiber.interrupt(stubborn));
      yield* turns(50);
      yield* TestClock.adjust("2 seconds");
      yield* Fiber.join(stopping);
      const next = yield* Effect.forkChild(runJob());
      yield* turns(100);
      assert.lengthOf(responds, 2);
      assert.lengthOf(started, 1);
      // The late result of the cancelled job is ignored.
      responds[0]?.();
      responds[1]?.();
      assert.strictEqual(yield* Fiber.join(other), "3");
      assert.strictEqual(yield* Fiber.join(next), "null");
      assert.lengthOf(started, 2);
    }).pipe(provide);
  });

  it.effect("stops a job at its timeout, and replaces the process if it does not stop", () => {
    const { started, provide } = withFakeApps(
      [
        app({ opened: overlapping, call: (runner, id) => runner.printIn(id, "printed") }),
        app({ opened: overlapping }),
      ],
      { WORKER_JOB_TIMEOUT: "10", WORKER_CANCEL_GRACE: "2" },
    );
    return Effect.gen(function* () {
      yield* (yield* AppRunner).open(spec);
      const job = yield* Effect.forkChild(Effect.flip(runJob()));
      yield* turns(50);
      yield* TestClock.adjust("10 seconds");
      yield* TestClock.adjust("2 seconds");
      assert.deepInclude(yield* Fiber.join(job), {
        _tag: "CallTimedOut",
        seconds: 10,
        killed: true,
        output: "printed",
      });
      yield* turns(200);
      assert.lengthOf(started, 2);
    }).pipe(provide);
  });

  it.effect("fails all running jobs with their own output when the process ends", () => {
    const { provide } = withFakeApps([
      app({
        opened: overlapping,
        call: (runner, id) => {
          runner.printIn(id, `job ${id}`);
          if (id === 4) runner.end({ code: 9 });
        },
      }),
    ]);
    return Effect.gen(function* () {
      yield* (yield* AppRunner).open(spec);
      const failures = yield* all([runJob(), runJob(), runJob()].map((job) => Effect.flip(job)));
      for (const [index, failure] of failures.entries()) {
        assert.deepInclude(failure, {
          _tag: "RunnerCrashed",
          exitCode: 9,
          output: `job ${index + 2}`,
        });
      }
    }).pipe(provide);
  });

  it.effect("can be interrupted at every step, and the next jobs succeed", () =>
    interruptedAtEveryStep((interrupted, about) => {
      const { started, provide } = withFakeApps([
        app({
          opened: overlapping,
          cancel: (runner, id) => runner.respond(id, {}, "null"),
        }),
      ]);
      return Effect.gen(function* () {
        yield* (yield* AppRunner).open({ ...spec, concurrency: 2 });
        yield* interrupted(runJob());
        assert.deepStrictEqual(yield* all([runJob(), runJob()]), ["null", "null"], about);
        assert.lengthOf(started, 1);
      }).pipe(provide);
    }),
  );

  it.effect("accepts a failure without a value, but no other result without one", () => {
    const { started, provide } = withFakeApps([
      app({
        opened: overlapping,
        call: (runner, id) => {
          const isFailure = id === 2;
          runner.respondWithoutValue(id, { failure: isFailure ? "busy" : null });
        },
      }),
      app({ opened: overlapping }),
    ]);
    return Effect.gen(function* () {
      const runner = yield* AppRunner;
      yield* runner.open(spec);
      const outcome = yield* runner.job({ input: Buffer.from("{}"), limit: 10 });
      assert.strictEqual(outcome.result.failure, "busy");
      assert.isUndefined(outcome.value);
      assert.deepInclude(yield* Effect.flip(runJob()), { reason: "sent an invalid response" });
      assert.strictEqual(yield* runJob(), "null");
      assert.lengthOf(started, 2);
    }).pipe(provide);
  });
});

describe("AppRunner.serve", () => {
  it.effect("is ready at the first item, and stops gracefully when it is interrupted", () => {
    const metas: Array<object> = [];
    let interrupts = 0;
    const { started, provide } = withFakeApps(
      [
        app({
          call: (runner, id, meta) => {
            metas.push(meta);
            runner.yieldIn(id, '{"ready": true}');
          },
          interrupt: (runner, id) => {
            interrupts += 1;
            setImmediate(() => runner.respond(id, {}, "null"));
          },
        }),
      ],
      { WORKER_JOB_TIMEOUT: "1" },
    );
    return Effect.gen(function* () {
      const runner = yield* AppRunner;
      yield* runner.open(spec);
      const ready = yield* Deferred.make<void>();
      const server = yield* Effect.forkChild(runner.serve(serving(ready)));
      yield* Deferred.await(ready);
      assert.deepInclude(metas[0], { kind: "serve", socket: "/tmp/http.sock" });
      yield* TestClock.adjust("10 seconds");
      assert.isUndefined(server.pollUnsafe());
      yield* Fiber.interrupt(server);
      assert.strictEqual(interrupts, 1);
      assert.lengthOf(started, 1);
    }).pipe(provide);
  });

  it.effect.each([
    [
      "the app can't be constructed",
      { ok: false, error: { ...startError, phase: "construct" } },
      { _tag: "AppOpenFailed", phase: "construct" },
    ],
    [
      "the server stops by itself",
      {},
      { _tag: "RunnerUnavailable", reason: "stopped serving HTTP requests", output: "last\n" },
    ],
    [
      "the server fails",
      {
        ok: false,
        error: { kind: "exception", type: "OSError", message: "no socket", traceback: "" },
      },
      { reason: "stopped serving HTTP requests: OSError: no socket" },
    ],
  ] as const)("fails with the reason and the output if %s", ([, response, expected]) => {
    const { provide } = withFakeApps([
      app({
        call: (runner, id) => {
          runner.print("last\n");
          runner.respond(id, response, "null");
        },
      }),
    ]);
    return Effect.gen(function* () {
      const runner = yield* AppRunner;
      yield* runner.open(spec);
      const ready = yield* Deferred.make<void>();
      assert.deepInclude(yield* Effect.flip(runner.serve(serving(ready))), expected);
      assert.isFalse(yield* Deferred.isDone(ready));
    }).pipe(provide);
  });

  it.effect("serves a live resource in a separate process, which ends with it", () => {
    const begun = Deferred.makeUnsafe<void>();
    let exits = 0;
    const { started, provide } = withFakeApps(
      [stuck(begun, { kill: (runner) => (exits += 1) && runner.end({ signal: "SIGKILL" }) })],
      { WORKER_CANCEL_GRACE: "0" },
    );
    return Effect.gen(function* () {
      const server = yield* Effect.forkChild(
        (yield* AppRunner).serveLive({
          workspace: spec.workspace,
          source: { code: "…", resource: "api" },
          ...serving(yield* Deferred.make<void>()),
        }),
      );
      yield* Deferred.await(begun);
      assert.deepInclude(started[0], { directory: spec.workspace.directory });
      assert.notProperty(started[0], "app");
      yield* TestClock.adjust("1 seconds");
      const stopping = yield* Effect.forkChild(Fiber.interrupt(server));
      yield* turns(50);
      yield* TestClock.adjust("1 seconds");
      yield* Fiber.join(stopping);
      assert.strictEqual(exits, 1);
    }).pipe(provide);
  });
});
