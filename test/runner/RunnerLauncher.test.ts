import { assert, describe, it } from "@effect/vitest";
import { Effect, Exit, Fiber, FileSystem, Layer } from "effect";
import { TestClock } from "effect/testing";

import { DiskFault } from "../../src/platform/files/DiskFault.ts";
import { RunnerLauncher } from "../../src/runner/RunnerLauncher.ts";
import { Environment } from "../../src/settings/Environment.ts";
import {
  type Behaviour,
  type FakeProcess,
  fakeRunners,
  fakeWorkspace,
  prepared,
  well,
  withFakeRunners,
} from "../support/fakes/FakeRunner.ts";
import { platformError } from "../support/files/MemoryFileSystem.ts";
import { answeringVolumeProcess } from "../support/machine/AnsweringVolumeProcess.ts";
import { leaksOf } from "../support/values/Leaks.ts";

const setUp = (
  behaviours: ReadonlyArray<Behaviour>,
  variables?: Readonly<Record<string, string>>,
) => withFakeRunners(RunnerLauncher.layerNoDeps, behaviours, variables);

const app = {
  folder: "/app",
  config: {
    resource: { client: "flash", name: "hello", kind: "queue", targets: [], handlerFile: null },
    path: ["/app"],
  },
} as const;

/** The command of an interpreter that is started in advance for the app. */
const prestarted = {
  python: prepared.python,
  environment: prepared.environment,
  directory: "/app",
  scratch: "/scratch",
};

const launch = Effect.gen(function* () {
  const launcher = yield* RunnerLauncher;
  return yield* launcher.launch(yield* launcher.workspace);
}).pipe(Effect.scoped);

const fails = (code: number): Behaviour => ({
  ...well,
  start: (runner) => {
    runner.print("ImportError: no");
    runner.end({ code });
  },
});
const outcome = (behaviours: ReadonlyArray<Behaviour>) => {
  const { started, rebuilds, provide } = setUp(behaviours);
  return Effect.gen(function* () {
    const exit = yield* Effect.exit(launch);
    return { exit, rebuilds, pythons: started.map(({ python }) => python) };
  }).pipe(provide);
};
const venvPython = "/workspace/.venv/bin/python";
const basePython = "/usr/bin/python3.12";
const rebuiltPython = "/rebuilt/bin/python";

describe("RunnerLauncher", () => {
  it.effect("starts a process that ends with the scope of its launch", () => {
    const { provide } = setUp([well]);
    return Effect.gen(function* () {
      const launcher = yield* RunnerLauncher;
      const session = yield* Effect.scoped(
        Effect.tap(launcher.launch(prepared), ({ exit }) =>
          Effect.sync(() => assert.isUndefined(exit())),
        ),
      );
      assert.deepInclude(session.exit(), { code: 0 });
    }).pipe(provide);
  });

  it.effect("gives an app the interpreter that was started in advance in the same way", () => {
    const { started, provide } = setUp([well]);
    return Effect.gen(function* () {
      const launcher = yield* RunnerLauncher;
      yield* launcher.prestart(prepared, "/app");
      assert.deepStrictEqual(started[0], prestarted);
      const session = yield* Effect.scoped(launcher.launch(prepared, app));
      assert.lengthOf(started, 1);
      assert.deepInclude(started[0], { ...prestarted, app: app.config });
      assert.deepInclude(session.exit(), { code: 0 }, "it ends with the scope of the launch");
      yield* Effect.scoped(launcher.launch(prepared, app));
      assert.lengthOf(started, 2, "it is used once");
    }).pipe(provide);
  });

  it.effect.each([
    ["the folder differs", prepared, "/other"],
    ["packages were installed", { ...prepared, generation: 2 }, "/app"],
    ["the venv differs", { ...prepared, python: "/other/bin/python" }, "/app"],
  ] as const)("starts another interpreter for an app if %s", ([, workspace, folder]) => {
    let ended = 0;
    const counting = (runner: FakeProcess) =>
      void (ended += runner.command.directory === folder ? 1 : 0);
    const { started, provide } = setUp([{ ...well, end: counting }]);
    return Effect.gen(function* () {
      const launcher = yield* RunnerLauncher;
      yield* launcher.prestart(workspace, folder);
      yield* launcher.launch(prepared, app);
      assert.lengthOf(started, 2);
      assert.strictEqual(ended, 1, "the first one has ended");
    }).pipe(Effect.scoped, provide);
  });

  it.effect("starts another interpreter if the one that was started in advance has ended", () => {
    const { started, provide } = setUp([
      { ...well, spawn: (runner) => runner.end({ code: 1 }) },
      well,
    ]);
    return Effect.gen(function* () {
      const launcher = yield* RunnerLauncher;
      yield* launcher.prestart(prepared, "/app");
      yield* launcher.launch(prepared, app);
      assert.lengthOf(started, 2);
    }).pipe(Effect.scoped, provide);
  });

  it.effect("ignores that no interpreter can be started in advance", () => {
    const { started, provide } = setUp([{ ...well, spawnError: "EAGAIN" }, well]);
    return Effect.gen(function* () {
      const launcher = yield* RunnerLauncher;
      yield* launcher.prestart(prepared, "/app");
      yield* launcher.launch(prepared, app);
      assert.lengthOf(started, 2);
    }).pipe(Effect.scoped, provide);
  });

  it.effect(
    "starts again if the network volume does not respond, on which the process hangs",
    () => {
      const unresponsive = new DiskFault({
        path: "/workspace",
        code: "ETIMEDOUT",
        problem: "hangs",
        detail: "",
      });
      const { layer: volume } = answeringVolumeProcess(
        () => Effect.fail(unresponsive),
        "/workspace",
      );
      const behaviours = [{ ...well, start: () => {} }, well];
      const { started, rebuilds, provide } = withFakeRunners(
        RunnerLauncher.layerNoDeps,
        behaviours,
        {},
        { volume },
      );
      return Effect.gen(function* () {
        const launching = yield* Effect.forkChild(launch);
        yield* TestClock.adjust("6 seconds");
        yield* Fiber.join(launching);
        assert.lengthOf(started, 2);
        assert.isEmpty(rebuilds);
      }).pipe(provide);
    },
  );

  it.effect("rebuilds a venv that fails although the base interpreter works", () =>
    Effect.gen(function* () {
      const { exit, rebuilds, pythons } = yield* outcome([fails(1), well, well]);
      assert.isTrue(Exit.isSuccess(exit));
      assert.deepStrictEqual(pythons, [venvPython, basePython, rebuiltPython]);
      assert.lengthOf(rebuilds, 1);
      assert.include(rebuilds[0], "exit code 1");
    }),
  );

  it.effect("rebuilds a venv that fails although the base interpreter lacks only cloudpickle", () =>
    Effect.gen(function* () {
      const { rebuilds, pythons } = yield* outcome([fails(3), fails(3), well]);
      assert.deepStrictEqual(pythons, [venvPython, basePython, rebuiltPython]);
      assert.lengthOf(rebuilds, 1);
    }),
  );

  it.effect("does not rebuild the venv when the base interpreter fails too", () =>
    Effect.gen(function* () {
      const { exit, rebuilds } = yield* outcome([fails(1), fails(1)]);
      assert.isEmpty(rebuilds);
      assert.isTrue(Exit.isFailure(exit));
      assert.include(String(exit), "ImportError: no");
    }),
  );

  it.effect("does not rebuild the venv when no interpreter starts in the folder of an app", () => {
    const { started, rebuilds, provide } = setUp([{ spawnError: "ENOENT" }]);
    return Effect.gen(function* () {
      const launcher = yield* RunnerLauncher;
      const error = yield* Effect.flip(launcher.launch(prepared, app));
      assert.include(error.message, "spawn ENOENT");
      assert.deepStrictEqual(
        started.map(({ python, directory }) => [python, directory]),
        [
          [venvPython, "/app"],
          [basePython, "/app"],
        ],
      );
      assert.isEmpty(rebuilds);
    }).pipe(Effect.scoped, provide);
  });

  it.effect("masks secrets in the output of a process that does not start", () => {
    const key = "rpa_Zq81mXw3Vt60bLk9Ys";
    const { provide } = setUp(
      [
        {
          ...well,
          start: (runner) => {
            runner.print(`no use for ${key}`);
            runner.end({ code: 1 });
          },
        },
      ],
      { RUNPOD_API_KEY: key },
    );
    return Effect.gen(function* () {
      const error = yield* Effect.flip(launch);
      assert.include(error.message, "no use for ***");
      assert.isEmpty(leaksOf(key, error.message));
    }).pipe(provide);
  });

  it.effect("reports a read-only temporary folder", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(launch);
      assert.include(error.message, "it is mounted read-only (EROFS)");
      assert.include(error.message, "set TMPDIR to a writable folder");
    }).pipe(
      Effect.provide(
        RunnerLauncher.layerNoDeps.pipe(
          Layer.provide([
            fakeRunners(well).layer,
            fakeWorkspace().layer,
            answeringVolumeProcess(() => Effect.succeed({})).layer,
            Environment.layerOf({}),
            FileSystem.layerNoop({
              makeTempDirectoryScoped: () =>
                Effect.fail(platformError("EROFS", "makeTempDirectory", "/tmp")),
            }),
          ]),
        ),
      ),
    ),
  );

  it.effect.each([
    ["killed by a signal", { ...well, start: (runner) => runner.end({ signal: "SIGKILL" }) }],
  ] satisfies ReadonlyArray<readonly [string, Behaviour]>)(
    "does not rebuild the venv when the process was %s",
    ([, behaviour]) =>
      Effect.gen(function* () {
        const { exit, rebuilds, pythons } = yield* outcome([behaviour]);
        assert.isEmpty(rebuilds);
        assert.deepStrictEqual(pythons, [venvPython]);
        assert.isTrue(Exit.isFailure(exit));
      }),
  );

  it.effect.each(["E2BIG", "EAGAIN", "ENOMEM"])(
    "does not rebuild the venv when the system reports %s",
    (code) =>
      Effect.gen(function* () {
        const { rebuilds, provide } = setUp([{ spawnError: code }, { spawnError: code }]);
        const error = yield* Effect.flip(launch).pipe(provide);
        assert.isEmpty(rebuilds);
        assert.strictEqual(
          error.message,
          `The Python process could not be started (${venvPython}: spawn ${code}).`,
        );
      }),
  );

  it.effect("does not rebuild the venv when the process does not become ready", () => {
    const { started, rebuilds, provide } = setUp([{ ...well, start: () => {} }]);
    return Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(Effect.flip(launch));
      while (started.length === 0) yield* Effect.yieldNow;
      yield* TestClock.adjust("3 minutes");
      const error = yield* Fiber.join(fiber);
      assert.include(error.message, "not ready");
      assert.isEmpty(rebuilds);
    }).pipe(provide);
  });

  it.effect.each([{ prefix: "/somewhere/else" }, { python: "3.13.0" }])(
    "rebuilds a venv whose interpreter has another prefix or version (%j)",
    (changes) =>
      Effect.gen(function* () {
        const { exit, rebuilds, pythons } = yield* outcome([
          { ...well, start: (runner) => runner.ready(changes) },
          well,
        ]);
        assert.isTrue(Exit.isSuccess(exit));
        assert.lengthOf(rebuilds, 1);
        assert.deepStrictEqual(pythons, [venvPython, rebuiltPython]);
      }),
  );
});
