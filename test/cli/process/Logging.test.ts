import { assert, describe, it, vi } from "@effect/vitest";
import { Cause, Console, Effect, Layer } from "effect";

import { Logging } from "../../../src/cli/process/Logging.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { leaksOf } from "../../support/values/Leaks.ts";

const KEY = "rpa_Zq81mXw3Vt60bLk9Ys";
const ADDRESS = "https://api.example/v2/endpoint/job-take/";

const variables = {
  RUNPOD_API_KEY: KEY,
  RUNPOD_WEBHOOK_GET_JOB: `${ADDRESS}$ID?token=abc`,
};

const logEverything = Effect.gen(function* () {
  yield* Effect.logInfo(`a message with ${KEY} at https://me:pw@host/`, { key: KEY });
  yield* Effect.logError("a defect", new Error(`about ${KEY}`));
  yield* Effect.logWarning("a cause", Cause.die(new Error(`in ${KEY}`)));
  yield* Effect.logInfo(`cut in two: ${KEY.slice(0, 12)} ${ADDRESS}pod?token=abc`);
  yield* Effect.annotateLogs(Effect.logInfo("about a job"), { requestId: KEY });
  yield* Console.error(`an error with ${KEY}`, { number: 1 });
});

/** Everything that was written to stderr. */
const stderrOf = (variables: Readonly<Record<string, string>>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const parts: Array<string> = [];
      const record = (...args: ReadonlyArray<unknown>) => parts.push(args.map(String).join(" "));
      const write = vi.spyOn(process.stderr, "write").mockImplementation((text) => {
        record(text);
        return true;
      });
      const error = vi.spyOn(console, "error").mockImplementation(record);
      return { parts, write, error };
    }),
    ({ parts }) =>
      logEverything.pipe(
        Effect.provide(Layer.provide(Logging, Environment.layerOf(variables))),
        Effect.map(() => parts.join("\n")),
      ),
    ({ write, error }) =>
      Effect.sync(() => {
        write.mockRestore();
        error.mockRestore();
      }),
  );

describe("Logging", () => {
  for (const [audience, more] of [
    ["a terminal", {}],
    ["RunPod's console", { RUNPOD_ENDPOINT_ID: "mine" }],
  ] as const) {
    it.live(`masks secrets in every part of messages for ${audience}`, () =>
      Effect.gen(function* () {
        const text = yield* stderrOf({ ...variables, ...more });
        assert.isEmpty(leaksOf(KEY, text));
        assert.include(text, "a message with *** at https://***@host/");
        assert.include(text, "about ***");
        assert.include(text, "in ***");
        assert.include(text, "cut in two: *** ***pod?token=***");
        assert.include(text, "an error with ***");
        assert.notInclude(text, "token=abc");
      }),
    );
  }
});
