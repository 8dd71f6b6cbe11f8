import { assert, describe, it } from "@effect/vitest";
import { Effect, type Schema } from "effect";

import { AppHandler } from "../../src/apps/AppHandler.ts";
import { startFailed } from "../../src/apps/AppStartFailed.ts";
import type { Job } from "../../src/domain/Job.ts";
import { JobListener, listenerOf } from "../../src/domain/JobEvents.ts";
import { CallTimedOut, RunnerCrashed, RunnerUnavailable } from "../../src/runner/RunnerError.ts";
import type { CallError } from "../../src/runner/RunnerProtocol.ts";
import { fakeApp, flashApp, missing, outcome, sdkApp } from "../support/fakes/FakeApp.ts";
import { encodedJson } from "../support/values/EncodedValues.ts";

type Options = Parameters<typeof fakeApp>[0];

const handle = (job: Job) => Effect.flatMap(AppHandler, (app) => app.handle(job));

/** The body that is sent to RunPod for a job. */
const bodyOf = (options: Options, input?: unknown) =>
  handle(input === undefined ? { id: "job" } : { id: "job", input }).pipe(
    Effect.map((output): Schema.Json => JSON.parse(Buffer.from(output.toResult(false)).toString())),
    Effect.provide(fakeApp(options).layer),
  );

const sdk = { locate: Effect.succeed(sdkApp) };

/** A job whose code returns a value. */
const returning = (value: Schema.Json, fields: Parameters<typeof outcome>[0] = {}): Options => ({
  job: () => Effect.succeed({ ...outcome(fields), value: encodedJson(value) }),
});

const exception: CallError = {
  kind: "exception",
  type: "ValueError",
  message: "no such thing",
  traceback: "Traceback (most recent call last): …",
};

const failing = (error: CallError): Options => ({
  job: () => Effect.succeed(outcome({ ok: false, error })),
});

const errorIn = (body: unknown): string => String(Object(body).error);

describe("the answer to a job of a deployed app", () => {
  it.effect("is the bare result", () =>
    Effect.gen(function* () {
      const values = [null, 1, "é", [1], { error: null }];
      for (const value of values) {
        assert.deepStrictEqual(yield* bodyOf(returning(value)), { output: value });
      }
    }),
  );

  it.effect("fails with the key `error` of the result, and requests a fresh container", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(
        yield* bodyOf(returning({ partial: 1 }, { failure: { code: 7 }, refresh: true })),
        { output: { partial: 1 }, error: { code: 7 }, stopPod: true },
      );
    }),
  );

  it.effect("is made from the JSON of the job's input, which is null if it is absent", () =>
    Effect.gen(function* () {
      const inputs: Array<string> = [];
      const options: Options = {
        job: ({ input }) =>
          Effect.sync(() => {
            inputs.push(Buffer.from(input).toString());
            return outcome();
          }),
      };
      for (const input of [undefined, null, [1, 2], { name: "é" }]) yield* bodyOf(options, input);
      assert.deepStrictEqual(inputs, ["null", "null", "[1,2]", '{"name":"é"}']);
    }),
  );

  it.effect("has the exact message of an exception and its traceback, for Flash", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* bodyOf(failing(exception)), {
        output: { success: false, traceback: exception.traceback },
        error: "no such thing",
      });
      assert.strictEqual(
        errorIn(yield* bodyOf(failing({ ...exception, message: "" }))),
        "ValueError",
      );
    }),
  );

  it.effect("has the JSON of runpod-python for an exception, for SDK 2.0", () =>
    Effect.gen(function* () {
      const body = yield* bodyOf({
        ...sdk,
        ...failing(exception),
        variables: { RUNPOD_POD_ID: "pod-1", RUNPOD_POD_HOSTNAME: "pod-1-host" },
      });
      assert.deepStrictEqual(Object.keys(Object(body)), ["error"]);
      assert.deepStrictEqual(JSON.parse(errorIn(body)), {
        error_type: "<class 'ValueError'>",
        error_message: "no such thing",
        error_traceback: exception.traceback,
        hostname: "pod-1-host",
        worker_id: "pod-1",
        runpod_version: "1.12.0",
      });
    }),
  );

  it.effect.each([
    ["all", "x".repeat(16 * 1024)],
    [" ALL ", "x".repeat(16 * 1024)],
    ["auto", undefined],
    ["off", undefined],
    ["everything", undefined],
    [undefined, undefined],
  ] as const)(
    "has what the code printed if RUNPOD_LOG_CAPTURE is %j, for SDK 2.0",
    ([mode, logs]) =>
      Effect.gen(function* () {
        const printed = `first${"x".repeat(20_000)}`;
        const options = {
          job: () =>
            Effect.succeed({ ...outcome({ ok: false, error: exception }), output: printed }),
          variables: mode === undefined ? {} : { RUNPOD_LOG_CAPTURE: mode },
        };
        assert.strictEqual(JSON.parse(errorIn(yield* bodyOf({ ...sdk, ...options }))).logs, logs);
        assert.strictEqual(errorIn(yield* bodyOf(options)), "no such thing");
      }),
  );

  it.effect("has no logs if RUNPOD_LOG_CAPTURE is all and the code printed nothing", () =>
    Effect.gen(function* () {
      const options = { ...sdk, ...failing(exception), variables: { RUNPOD_LOG_CAPTURE: "all" } };
      assert.notProperty(JSON.parse(errorIn(yield* bodyOf(options))), "logs");
    }),
  );

  it.effect("hides secrets in errors, and stays within WORKER_RESULT_LIMIT", () =>
    Effect.gen(function* () {
      const secret = "rpa_Zq81mXw3Vt60bLk9Ys";
      const text = `the key is ${secret} ${"\n".repeat(200_000)}`;
      const variables = {
        RUNPOD_API_KEY: secret,
        WORKER_RESULT_LIMIT: "65536",
        RUNPOD_LOG_CAPTURE: "all",
      };
      for (const locate of [Effect.succeed(flashApp), Effect.succeed(sdkApp)]) {
        for (const options of [
          failing({ ...exception, message: text, traceback: text }),
          {
            job: () =>
              Effect.succeed({
                ...outcome({ ok: false, error: { ...exception, message: text, traceback: text } }),
                output: "\u0001".repeat(20_000),
              }),
          },
          returning(1, { failure: { reason: [`the key is ${secret}`], [secret]: 1 } }),
        ]) {
          const body = JSON.stringify(yield* bodyOf({ ...options, locate, variables }));
          assert.include(body, "the key is ***");
          assert.notInclude(body, secret);
          assert.isAtMost(Buffer.byteLength(body), 65_536);
        }
      }
    }),
  );

  it.effect("says what ended the process, and what the job printed", () =>
    Effect.gen(function* () {
      const crashed = new RunnerCrashed({
        signal: "SIGKILL",
        instancesLost: 0,
        output: "loading\n",
      });
      const flash = errorIn(yield* bodyOf({ job: () => Effect.fail(crashed) }));
      assert.include(flash, crashed.message);
      assert.include(flash, "Its output:\nloading");
      const timedOut = new CallTimedOut({ seconds: 5, killed: false, output: "" });
      const body = yield* bodyOf({ ...sdk, job: () => Effect.fail(timedOut) });
      const error = JSON.parse(errorIn(body));
      assert.strictEqual(error.error_type, "CallTimedOut");
      assert.strictEqual(error.error_message, timedOut.message);
    }),
  );

  it.effect("names the limit if the result is too large for Python to send", () =>
    Effect.gen(function* () {
      const size: CallError = { kind: "size", type: "", message: "30.1 MiB", traceback: "" };
      assert.include(errorIn(yield* bodyOf(failing(size))), "WORKER_RESULT_LIMIT");
    }),
  );

  it.effect(
    "names the problem of a result that is not JSON, without the frames of the encoder",
    () =>
      Effect.gen(function* () {
        const options = failing({
          kind: "result",
          type: "tetra_runner.errors.ResultError",
          message: "the result, of type bytes, is not JSON",
          traceback: "json/encoder.py",
        });
        assert.deepStrictEqual(yield* bodyOf(options), {
          error: "the result, of type bytes, is not JSON",
        });
        const inSdk: unknown = JSON.parse(errorIn(yield* bodyOf({ ...sdk, ...options })));
        assert.deepInclude(inSdk, {
          error_type: "ResultInvalid",
          error_message: "the result, of type bytes, is not JSON",
          error_traceback: "",
        });
      }),
  );

  it.effect("is an internal error after a bug of the worker", () =>
    Effect.gen(function* () {
      const body = yield* bodyOf({ job: () => Effect.die(new Error("a bug")) });
      assert.strictEqual(
        errorIn(body),
        "Internal error of the worker, not of your code: Error: a bug. See the worker's log for details.",
      );
    }),
  );
});

const failingConstructor = () =>
  Effect.fail(
    missing("x", {
      phase: "construct",
      type: "OSError",
      message: "no",
      missingModule: undefined,
    }),
  );

describe("the answer to a job of an app that can't start", () => {
  const locate = Effect.fail(startFailed("locate", "There is no archive", "Deploy the app."));

  it.effect("is text for Flash", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* bodyOf({ locate, variables: { FLASH_APP: "demo" } }), {
        error: "The app failed to start in 'locate': There is no archive. Deploy the app.",
      });
    }),
  );

  it.effect("is a BootstrapError for SDK 2.0, with the traceback", () =>
    Effect.gen(function* () {
      const unknown = JSON.parse(errorIn(yield* bodyOf({ locate })));
      assert.strictEqual(unknown.error_type, "BootstrapError");
      assert.strictEqual(
        unknown.error_message,
        "worker bootstrap failed during 'locate': There is no archive. Deploy the app.",
      );
      const error = JSON.parse(errorIn(yield* bodyOf({ ...sdk, open: failingConstructor })));
      assert.include(error.error_message, "'construct': Constructing greet failed: OSError: no");
      assert.strictEqual(error.error_traceback, "Traceback …");
    }),
  );

  it.effect(
    "is the same if its process crashed after an earlier job and can't be opened again",
    () =>
      Effect.gen(function* () {
        const body = yield* bodyOf({ job: () => Effect.fail(missing("gone")) });
        assert.include(errorIn(body), "in 'import': Importing greet failed");
      }),
  );

  it.effect("says that an API takes no jobs", () =>
    Effect.gen(function* () {
      const api = { ...sdkApp, resource: { ...sdkApp.resource, kind: "api" as const } };
      const body = yield* bodyOf({ locate: Effect.succeed(api) });
      assert.include(errorIn(body), "takes no jobs");
    }),
  );
});

describe("the events of a job of a deployed app", () => {
  it.effect("have the values of a generator, except those that are too large", () =>
    Effect.gen(function* () {
      const chunks: Array<string | undefined> = [];
      const { layer } = fakeApp({
        job: ({ chunk, chunkLimit }) =>
          Effect.sync(() => {
            assert.isAtMost(chunkLimit ?? 0, 1_000_000);
            chunk?.(encodedJson(1));
            chunk?.(undefined);
            return outcome();
          }),
      });
      yield* Effect.provideService(
        Effect.provide(handle({ id: "job" }), layer),
        JobListener,
        listenerOf({
          ValueYielded: ({ value }) =>
            chunks.push(value && Buffer.from(value.toChunk()).toString()),
        }),
      );
      assert.deepStrictEqual(chunks, ['{"output":1}', undefined]);
    }),
  );

  it.effect.each<readonly [string, Options]>([
    ["ran", {}],
    ["ran", failing(exception)],
    ["cuda", failing({ ...exception, message: "CUDA error" })],
    ["cuda", { job: () => Effect.succeed(outcome({ poisoned: "the GPU is lost" })) }],
    [
      "launch",
      {
        job: () => Effect.fail(new RunnerUnavailable({ reason: "did not start", output: "" })),
      },
    ],
    ["ran", { open: () => Effect.fail(missing("x")) }],
  ])("indicate the state of the machine: %s", ([expected, options]) =>
    Effect.gen(function* () {
      const ends: Array<string> = [];
      yield* Effect.provideService(
        Effect.provide(handle({ id: "job" }), fakeApp(options).layer),
        JobListener,
        listenerOf({ Ended: ({ end }) => ends.push(end) }),
      );
      assert.deepStrictEqual(ends, [expected]);
    }),
  );
});
