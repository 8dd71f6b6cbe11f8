import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer } from "effect";

import { DependencyInstaller } from "../../src/dependencies/DependencyInstaller.ts";
import { PythonRunner } from "../../src/execution/PythonRunner.ts";
import { RemoteExecutor } from "../../src/execution/RemoteExecutor.ts";
import type { Runner } from "../../src/execution/Runner.ts";
import { RunnerUnavailable } from "../../src/execution/RunnerError.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { fakeWorkspace, prepared, result } from "../support/FakeRunner.ts";
import { leaksOf } from "../support/Leaks.ts";
import { keptLogs } from "../support/Logs.ts";

const KEY = "rpa_Zq81mXw3Vt60bLk9Ys";

/** So long that most cuts of a text of such addresses are within it. */
const PASSWORD = "a-password-of-a-job-".repeat(20);

/** Longer than the longest error that is shown. */
const TEXT = `the key is ${KEY} ${`https://me:${PASSWORD}@host/ `.repeat(10_000)}`;

/** The response to a job whose call ends in this way. */
const responseAfter = (call: Runner["call"]) =>
  Effect.flatMap(RemoteExecutor, ({ execute }) =>
    execute({ function_name: "f", function_code: "def f(): pass" }),
  ).pipe(
    Effect.provide(
      RemoteExecutor.layerNoDeps.pipe(
        Layer.provideMerge(keptLogs().layer),
        Layer.provide([
          fakeWorkspace().layer,
          Layer.mock(DependencyInstaller, {
            ensure: () => Effect.succeed({ workspace: prepared, installs: 0 }),
          }),
          Layer.mock(PythonRunner, { call }),
          Environment.layerOf({ RUNPOD_API_KEY: KEY }),
        ]),
      ),
    ),
  );

describe("the error of a job", () => {
  it.effect.each<readonly [string, Runner["call"]]>([
    [
      "an exception of its code",
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
  ])("is masked before it is shortened when it is %s", ([, call]) =>
    Effect.gen(function* () {
      const response = yield* responseAfter(call);
      const error = response.error ?? "";
      assert.include(error.slice(0, 1000), "the key is *** https://***@host/");
      assert.match(error.slice(-1000), /@host\/.*… \(\d+ more characters\)/);
      for (const secret of [KEY, PASSWORD]) assert.isEmpty(leaksOf(secret, error));
    }),
  );
});
