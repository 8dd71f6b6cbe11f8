import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, Layer } from "effect";

import { DependencyInstaller } from "../../src/dependencies/DependencyInstaller.ts";
import { JobListener, listenerOf } from "../../src/domain/JobEvents.ts";
import { RemoteExecutor } from "../../src/functions/RemoteExecutor.ts";
import { BackgroundWork } from "../../src/platform/BackgroundWork.ts";
import type { Runner } from "../../src/runner/Runner.ts";
import { CallTimedOut, RunnerCrashed, RunnerUnavailable } from "../../src/runner/RunnerError.ts";
import { RunnerPool } from "../../src/runner/RunnerPool.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { LockTimeout } from "../../src/venv/leases/LockTimeout.ts";
import { Workspace } from "../../src/workspace/Workspace.ts";
import { keptLogs } from "../support/fakes/CapturedLogs.ts";
import { fakeWorkspace, result } from "../support/fakes/FakeRunner.ts";
import { leaksOf } from "../support/values/Leaks.ts";

const KEY = "rpa_Zq81mXw3Vt60bLk9Ys";

/** So long that most cuts of a text with such URLs are inside a password. */
const PASSWORD = "a-password-of-a-job-".repeat(20);

/** Longer than the limit for errors. */
const TEXT = `the key is ${KEY} ${`https://me:${PASSWORD}@host/ `.repeat(10_000)}`;

/** The response to a job with a fake call. */
const responseAfter = (call: Runner["call"], workspace = fakeWorkspace().layer) =>
  Effect.flatMap(RemoteExecutor, ({ execute }) =>
    execute({ function_name: "f", function_code: "def f(): pass" }),
  ).pipe(
    Effect.provide(
      RemoteExecutor.layerNoDeps.pipe(
        Layer.provideMerge(keptLogs().layer),
        Layer.provide([
          FileSystem.layerNoop({}),
          BackgroundWork.layer,
          workspace,
          Layer.mock(DependencyInstaller, {
            ensure: (_, given) => Effect.succeed(given),
          }),
          Layer.mock(RunnerPool, { call }),
          Environment.layerOf({ RUNPOD_API_KEY: KEY }),
        ]),
      ),
    ),
  );

describe("RemoteExecutor", () => {
  it.effect.each<readonly [string, Runner["call"]]>([
    [
      "an exception of the code",
      () =>
        Effect.succeed({
          result: {
            ...result,
            ok: false,
            error: { kind: "exception", type: "ValueError", message: TEXT, traceback: "" },
          },
          value: undefined,
          output: "",
        }),
    ],
    [
      "a process that does not start",
      () => Effect.fail(new RunnerUnavailable({ reason: "did not start", output: TEXT })),
    ],
    ["a defect of the worker", () => Effect.die(new Error(TEXT))],
  ])("masks the error before it cuts it, for %s", ([, call]) =>
    Effect.gen(function* () {
      const response = yield* responseAfter(call);
      const error = response.error ?? "";
      assert.include(error.slice(0, 1000), "the key is *** https://***@host/");
      assert.match(error.slice(-1000), /@host\/.*… \(\d+ more characters\)/);
      for (const secret of [KEY, PASSWORD]) assert.isEmpty(leaksOf(secret, error));
    }),
  );
});

describe("the requirements of a request", () => {
  const LIVE = {
    function_name: "f",
    function_code: "import runpod\n\ndef f(): pass",
    serialization_format: "json",
    dependencies: ["numpy"],
  };

  it.effect.each([
    ["with the SDK for a live module", LIVE, ["numpy", "runpod>=2.0.0rc2"]],
    ["as they are for pickles", { ...LIVE, serialization_format: "cloudpickle" }, ["numpy"]],
    [
      "as they are for a class",
      { ...LIVE, execution_type: "class", class_name: "C", class_code: LIVE.function_code },
      ["numpy"],
    ],
  ] as const)("are installed %s", ([, request, expected]) =>
    Effect.gen(function* () {
      let installed: ReadonlyArray<string> = [];
      yield* Effect.flatMap(RemoteExecutor, ({ execute }) => execute(request)).pipe(
        Effect.provide(
          RemoteExecutor.layerNoDeps.pipe(
            Layer.provideMerge(keptLogs().layer),
            Layer.provide([
              FileSystem.layerNoop({}),
              BackgroundWork.layer,
              fakeWorkspace().layer,
              Layer.mock(DependencyInstaller, {
                ensure: ({ python }, given) => {
                  installed = python;
                  return Effect.succeed(given);
                },
              }),
              Layer.mock(RunnerPool, {
                call: () => Effect.succeed({ result, value: undefined, output: "" }),
              }),
              Environment.layerOf({}),
            ]),
          ),
        ),
      );
      assert.deepStrictEqual(installed, expected);
    }),
  );
});

const locked = new LockTimeout({ path: "/workspace/lock", waited: 1 });
const crashed = (output: string) => new RunnerCrashed({ exitCode: 1, instancesLost: 0, output });

/** The reported end of a job with its reason. */
const endAfter = Effect.fnUntraced(function* (...of: Parameters<typeof responseAfter>) {
  const ends: Array<readonly [string, string]> = [];
  yield* Effect.provideService(
    responseAfter(...of),
    JobListener,
    listenerOf({
      Ended: ({ end, reason }) => ends.push([end, reason]),
    }),
  );
  return ends;
});

describe("the reported end of a job", () => {
  it.effect.each<readonly [string, Effect.Error<ReturnType<Runner["call"]>>]>([
    ["launch", new RunnerUnavailable({ reason: "could not be started", output: "" })],
    [
      "ran",
      new RunnerUnavailable({ reason: "sent an invalid response", output: "", hasStarted: true }),
    ],
    ["ran", new CallTimedOut({ seconds: 1, killed: true, output: "" })],
    ["ran", crashed("Segmentation fault")],
    ["cuda", crashed("CUDA error: an illegal memory access was encountered")],
    ["workspace", locked],
  ])("is %s after the error %s", ([end, error]) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* endAfter(() => Effect.fail(error)), [[end, error.message]]);
    }),
  );

  it.effect("is workspace if the workspace is not ready", () =>
    Effect.gen(function* () {
      const without = Layer.mock(Workspace, { ready: Effect.fail(locked) });
      assert.deepStrictEqual(yield* endAfter(() => Effect.never, without), [
        ["workspace", locked.message],
      ]);
    }),
  );
});
