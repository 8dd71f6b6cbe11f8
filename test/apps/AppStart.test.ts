import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Fiber, Option, SubscriptionRef } from "effect";
import { TestClock } from "effect/testing";

import { AppStart } from "../../src/apps/AppStart.ts";
import { type AppStartFailed, startFailed } from "../../src/apps/AppStartFailed.ts";
import { PythonInstallFailed } from "../../src/dependencies/pip/PythonInstallFailed.ts";
import { CallTimedOut, RunnerCrashed, RunnerUnavailable } from "../../src/runner/RunnerError.ts";
import type { AppOpenFailed } from "../../src/runner/apps/AppOpenFailed.ts";
import { turns } from "../support/effects/Interruption.ts";
import { advanceUntilDone, isDone } from "../support/effects/Waiting.ts";
import { fakeApp, flashApp, missing, sdkApp } from "../support/fakes/FakeApp.ts";
import { opened } from "../support/fakes/FakeAppProcesses.ts";
import { prepared } from "../support/fakes/FakeRunner.ts";

const ready = Effect.flatMap(AppStart, (start) => start.ready);

type FailureFields = Partial<Pick<AppStartFailed, "phase" | "reason" | "traceback" | "end">>;

const notThere = startFailed("locate", "There is no archive", "Deploy the app.");

describe("the start of a deployed app", () => {
  it.effect("opens the app once, for all who wait for it", () => {
    const { layer, opens, logs } = fakeApp();
    return Effect.gen(function* () {
      const started = yield* Effect.all([ready, ready], { concurrency: 2 });
      assert.deepStrictEqual(
        started.map(({ app, concurrency }) => [app, concurrency]),
        [
          [flashApp, 1],
          [flashApp, 1],
        ],
      );
      assert.lengthOf(opens, 1);
      assert.match(
        logs.notices().join("\n"),
        /App ready: greet \(Flash\), 1 job at a time \(.*locate 0\.00 s.*open 0\.00 s\)/,
      );
    }).pipe(Effect.provide(layer));
  });

  it.effect("starts the interpreter while the app is located", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>();
      const { layer, opens, prestarts } = fakeApp({
        locate: Effect.as(Deferred.await(gate), flashApp),
        expected: { resource: "greet", folder: "/app" },
        workspace: Effect.succeed({ ...prepared, environment: { A: "1" } }),
      });
      yield* Effect.gen(function* () {
        const waiting = yield* Effect.forkChild(ready);
        yield* turns(50);
        assert.deepStrictEqual(prestarts, [[{ FLASH_RESOURCE_NAME: "greet", A: "1" }, "/app"]]);
        assert.lengthOf(opens, 0);
        yield* Deferred.succeed(gate, undefined);
        yield* Fiber.join(waiting);
        assert.lengthOf(opens, 1);
      }).pipe(Effect.provide(layer));
    }),
  );

  it.effect.each<readonly [Parameters<typeof fakeApp>[0], number]>([
    [{ locate: Effect.succeed({ ...flashApp, maxConcurrency: 4 }) }, 4],
    [
      {
        locate: Effect.succeed({ ...flashApp, maxConcurrency: 4 }),
        open: () => Effect.succeed({ ...opened, isSingleton: true }),
      },
      1,
    ],
    [
      {
        locate: Effect.succeed({ ...flashApp, maxConcurrency: 4 }),
        open: () => Effect.succeed({ ...opened, isSingleton: true, overlaps: true }),
      },
      4,
    ],
  ])(
    "has the concurrency of the app, and 1 for synchronous methods of a class",
    ([options, jobs]) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* ready).concurrency, jobs);
      }).pipe(Effect.provide(fakeApp(options).layer)),
  );

  it.effect("is not affected by an interruption of those who wait for it", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>();
      const { layer, opens } = fakeApp({ open: () => Effect.as(Deferred.await(gate), opened) });
      yield* Effect.gen(function* () {
        const first = yield* Effect.forkChild(ready);
        yield* turns(50);
        yield* Fiber.interrupt(first);
        const second = yield* Effect.forkChild(ready);
        yield* turns(50);
        assert.isFalse(isDone(second));
        yield* Deferred.succeed(gate, undefined);
        yield* Fiber.join(second);
        assert.lengthOf(opens, 1);
      }).pipe(Effect.provide(layer));
    }),
  );

  it.effect("that failed is repeated by a later call, but not before WORKER_APP_RETRY", () => {
    let isThere = false;
    let located = 0;
    const { layer, logs } = fakeApp({
      locate: Effect.suspend(() => {
        located += 1;
        return isThere ? Effect.succeed(flashApp) : Effect.fail(notThere);
      }),
      variables: { WORKER_APP_RETRY: "20" },
    });
    return Effect.gen(function* () {
      const { state } = yield* AppStart;
      assert.strictEqual((yield* Effect.flip(ready)).message, notThere.message);
      assert.strictEqual(SubscriptionRef.getUnsafe(state)._tag, "Failed");
      isThere = true;
      yield* TestClock.adjust("19 seconds");
      assert.strictEqual((yield* Effect.flip(ready)).message, notThere.message);
      assert.strictEqual(located, 1);
      yield* TestClock.adjust("1 second");
      yield* ready;
      assert.strictEqual(located, 2);
      assert.strictEqual(SubscriptionRef.getUnsafe(state)._tag, "Ready");
      assert.match(
        logs.errors().join("\n"),
        /App failed to start in 'locate' .*There is no archive/,
      );
    }).pipe(Effect.provide(layer));
  });

  it.effect("fails for another version of Python before anything is opened", () => {
    const { layer, opens } = fakeApp({
      locate: Effect.succeed({ ...flashApp, pythonVersion: Option.some("3.11") }),
    });
    return Effect.gen(function* () {
      const { phase, message } = yield* Effect.flip(ready);
      assert.strictEqual(phase, "verify");
      assert.include(message, "was built for Python 3.11, and this worker runs Python 3.12.1");
      assert.include(message, "--python-version 3.12");
      assert.isEmpty(opens);
    }).pipe(Effect.provide(layer));
  });

  it.effect(
    "installs system packages of SDK 2.0 before, and those of Flash after the import",
    () => {
      const order: Array<string> = [];
      const { layer } = fakeApp({
        locate: Effect.succeed({ ...sdkApp, systemDependencies: ["tree"] }),
        ensure: ({ system }, given) =>
          Effect.sync(() => {
            order.push(...system);
            return given;
          }),
        open: () =>
          Effect.sync(() => {
            order.push("open");
            return { ...opened, systemDependencies: ["ffmpeg"] };
          }),
      });
      return Effect.gen(function* () {
        yield* ready;
        assert.deepStrictEqual(order, ["tree", "open", "ffmpeg"]);
      }).pipe(Effect.provide(layer));
    },
  );

  it.effect(
    "installs system packages that the code needs in its constructor, and opens again",
    () => {
      const { layer, installed, opens } = fakeApp({
        open: (attempt) =>
          attempt === 0
            ? Effect.fail(
                missing("x", {
                  phase: "construct",
                  missingModule: undefined,
                  systemDependencies: ["ffmpeg"],
                }),
              )
            : Effect.succeed(opened),
      });
      return Effect.gen(function* () {
        yield* ready;
        assert.deepStrictEqual(installed, ["ffmpeg"]);
        assert.lengthOf(opens, 2);
      }).pipe(Effect.provide(layer));
    },
  );
});

describe("a package that SDK 2.0 left out of an app", () => {
  const locate = Effect.succeed({ ...sdkApp, excludedPackages: ["torch", "torchvision"] });

  it.effect("is not installed if the image has it", () => {
    const records = ["torch-2.9.1+cu128.dist-info", "torchvision-0.24.dist-info"];
    const { layer, installed } = fakeApp({ locate, records });
    return Effect.gen(function* () {
      yield* ready;
      assert.isEmpty(installed);
    }).pipe(Effect.provide(layer));
  });

  it.effect("is installed with a warning if the image lacks it", () => {
    const { layer, installed, opens, logs } = fakeApp({ locate });
    return Effect.gen(function* () {
      yield* ready;
      assert.deepStrictEqual(installed, ["torch", "torchvision"]);
      assert.deepStrictEqual(opens, [2]);
      assert.include(logs.warnings().join("\n"), "torch, torchvision, which this image lacks");
    }).pipe(Effect.provide(layer));
  });

  it.effect("is not installed over the image's PyTorch", () => {
    const { layer, installed } = fakeApp({ locate, records: ["torch-2.9.1.dist-info"] });
    return Effect.gen(function* () {
      const { phase, message } = yield* Effect.flip(ready);
      assert.strictEqual(phase, "verify");
      assert.include(message, "torchvision");
      assert.include(message, "would replace the image's PyTorch");
      assert.isEmpty(installed);
    }).pipe(Effect.provide(layer));
  });
});

describe("a missing module", () => {
  it.effect("is installed by the name of its package, and the app is opened again with it", () => {
    const modules = ["cv2", "yaml", "humanize"];
    const { layer, installed, opens, logs } = fakeApp({
      open: (attempt) =>
        attempt < 3 ? Effect.fail(missing(modules[attempt] ?? "")) : Effect.succeed(opened),
    });
    return Effect.gen(function* () {
      yield* ready;
      assert.deepStrictEqual(installed, ["opencv-python-headless", "pyyaml", "humanize"]);
      assert.deepStrictEqual(opens, [1, 2, 3, 4]);
      assert.lengthOf(logs.warnings(), 3);
      assert.include(logs.warnings()[0], "installing opencv-python-headless");
    }).pipe(Effect.provide(layer));
  });

  it.effect("is an error after MAX_IMPORT_RECOVERY_ATTEMPTS", () => {
    const { layer, installed, logs } = fakeApp({
      open: (attempt) => Effect.fail(missing(`m${attempt}`)),
      variables: { MAX_IMPORT_RECOVERY_ATTEMPTS: "2" },
    });
    return Effect.gen(function* () {
      const { message, traceback } = yield* Effect.flip(ready);
      assert.deepStrictEqual(installed, ["m0", "m1"]);
      assert.include(message, "No module named 'm2'");
      assert.include(message, "Add m2 to the dependencies of greet");
      assert.strictEqual(traceback, "Traceback …");
      assert.include(logs.errors().join("\n"), "Traceback …");
    }).pipe(Effect.provide(layer));
  });

  it.effect("is an error if it is still missing after its package was installed", () => {
    const { layer, installed } = fakeApp({ open: () => Effect.fail(missing("same")) });
    return Effect.gen(function* () {
      yield* Effect.flip(ready);
      assert.deepStrictEqual(installed, ["same"]);
    }).pipe(Effect.provide(layer));
  });

  it.effect("is an error that names the reason if its package can't be installed", () => {
    const { layer } = fakeApp({
      open: () => Effect.fail(missing("nowhere")),
      ensure: ({ python }) =>
        Effect.fail(
          new PythonInstallFailed({ requirements: python, reason: "unknown", output: "" }),
        ),
    });
    return Effect.gen(function* () {
      const { message } = yield* Effect.flip(ready);
      assert.include(message, "No module named 'nowhere'");
      assert.include(message, "no package index has it");
    }).pipe(Effect.provide(layer));
  });

  it.effect("of PyTorch's family is not installed over the image's PyTorch", () => {
    const { layer, installed } = fakeApp({
      open: () => Effect.fail(missing("torchaudio")),
      records: ["torch-2.9.1.dist-info"],
    });
    return Effect.gen(function* () {
      assert.include((yield* Effect.flip(ready)).message, "would replace the image's PyTorch");
      assert.isEmpty(installed);
    }).pipe(Effect.provide(layer));
  });
});

const failureOf = (error: AppOpenFailed | RunnerCrashed | CallTimedOut) =>
  Effect.flip(ready).pipe(Effect.provide(fakeApp({ open: () => Effect.fail(error) }).layer));

describe("the failure of a start", () => {
  it.effect.each<readonly [Parameters<typeof failureOf>[0], FailureFields]>([
    [
      missing("x", {
        phase: "construct",
        type: "ValueError",
        message: "no weights",
        missingModule: undefined,
      }),
      {
        phase: "construct",
        reason: "Constructing greet failed: ValueError: no weights",
        traceback: "Traceback …",
        end: "ran",
      },
    ],
    [
      missing("x", { type: "RuntimeError", message: "CUDA error", missingModule: undefined }),
      { phase: "import", end: "cuda" },
    ],
    [
      new RunnerCrashed({ signal: "SIGKILL", instancesLost: 0, output: "loading\nweights\n" }),
      { phase: "import", traceback: "loading\nweights", end: "ran" },
    ],
    [
      new CallTimedOut({ seconds: 5, killed: true, output: "waiting" }),
      { phase: "import", traceback: "waiting", end: "ran" },
    ],
  ])("says what failed, with the traceback or the output", ([error, expected]) =>
    Effect.gen(function* () {
      const { phase, reason, traceback, end } = yield* failureOf(error);
      const failure: FailureFields = { phase, reason, traceback, ...(end && { end }) };
      assert.deepInclude(failure, expected);
    }),
  );

  it.effect(
    "is tried three times if Python can't be started, and indicates a faulty machine",
    () => {
      const { layer, opens } = fakeApp({
        open: () => Effect.fail(new RunnerUnavailable({ reason: "did not start", output: "no" })),
      });
      return Effect.gen(function* () {
        const failure = yield* advanceUntilDone(Effect.flip(ready));
        assert.strictEqual(failure.end, "launch");
        assert.lengthOf(opens, 3);
      }).pipe(Effect.provide(layer));
    },
  );

  it.effect("is an internal error if the worker has a bug, and is logged", () => {
    const { layer, logs } = fakeApp({ open: () => Effect.die(new Error("a bug")) });
    return Effect.gen(function* () {
      assert.include((yield* Effect.flip(ready)).message, "Internal error: Error: a bug");
      assert.include(logs.errors().join("\n"), "Internal error");
    }).pipe(Effect.provide(layer));
  });
});
