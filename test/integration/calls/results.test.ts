import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Result, Schema } from "effect";
import { inject } from "vitest";

import { readPickle } from "../../../src/cli/results/pickle/Pickle.ts";
import { Text } from "../../../src/cli/results/pickle/PickleValue.ts";
import { pythonRepr } from "../../../src/cli/results/python/PythonRepr.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { loopbackServer, bodyOf, respondJson } from "../../support/http/LoopbackServer.ts";
import { stdoutOf } from "../../support/processes/ChildProcess.ts";
import { runCommandLine } from "../../support/processes/CommandLineRun.ts";
import { realEnvironment } from "../../support/processes/RealWorker.ts";

const decodeCases = Schema.decodeUnknownSync(
  Schema.Array(
    Schema.Struct({
      pickle: Schema.String,
      name: Schema.optionalKey(Schema.String),
      repr: Schema.optionalKey(Schema.String),
    }),
  ),
);

/** Pickles that Python made. */
const pickles = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
  const python = join(inject("workspace"), ".venv/bin/python");
  const text = yield* stdoutOf(python, ["test/support/python/pickles.py", ...args]);
  return decodeCases(
    text
      .trim()
      .split("\n")
      .map((line): unknown => JSON.parse(line)),
  );
});

/** An endpoint whose jobs complete immediately, with the result in their input. */
const endpoint = Effect.suspend(() => {
  let last: unknown;
  return loopbackServer(async (request, response) => {
    const body = await bodyOf(request);
    if (body !== "") last = JSON.parse(body).input.result;
    const output = { success: true, result: last, stdout: "" };
    respondJson(response, { id: "a-job", status: "COMPLETED", output, stream: [] });
  });
});

/** Characters that control a terminal. */
// oxlint-disable-next-line no-control-regex
const CONTROLS = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

/** A function whose result makes this call when it is unpickled. */
const returning = (call: string) => ({
  function_name: "f",
  function_code: `def f():\n    import os, time, subprocess\n    class Result:\n        def __reduce__(self):\n            return ${call}\n    return Result()`,
});

describe("a result", () => {
  it.live("is displayed by invoke without running the code in any of 74 hostile pickles", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const marker = join(folder, "marker");
      const cases = yield* pickles("hostile", marker);
      assert.isAtLeast(cases.length, 35);
      const file = join(folder, "requests.json");
      writeFileSync(
        file,
        JSON.stringify(cases.map(({ pickle }) => ({ input: { result: pickle } }))),
      );
      const { url } = yield* endpoint;
      const run = yield* runCommandLine(["invoke", "any", "--url", url, file], realEnvironment());
      assert.strictEqual(run.code, 0, run.stderr);
      const shown = run.stdout.split("\n").filter((line) => line.startsWith("  result: "));
      assert.lengthOf(shown, cases.length);
      for (const line of shown) assert.isBelow(line.length, 2100);
      assert.notMatch(run.stdout + run.stderr, CONTROLS);
      assert.isFalse(existsSync(marker));
    }).pipe(Effect.scoped),
  );

  it.live("is displayed by run without running the code in its pickle", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const marker = join(folder, "marker");
      const file = join(folder, "requests.json");
      const calls = [
        `(os.mkdir, (${JSON.stringify(marker)},))`,
        `(os.system, ("touch ${marker}",))`,
        `(subprocess.check_output, (["touch", ${JSON.stringify(marker)}],))`,
        `(eval, ("open('${marker}', 'w')",))`,
        `(time.sleep, (1000000,))`,
      ];
      writeFileSync(file, JSON.stringify(calls.map((call) => ({ input: returning(call) }))));
      const run = yield* runCommandLine(["run", file], realEnvironment());
      assert.strictEqual(run.code, 0, run.stderr);
      assert.include(run.stdout, `result: posix.mkdir('${marker}')`);
      assert.include(run.stdout, "result: time.sleep(1000000)");
      assert.isFalse(existsSync(marker));
    }).pipe(Effect.scoped),
  );

  it.live("without code is displayed like Python's repr", () =>
    Effect.gen(function* () {
      const cases = yield* pickles("honest");
      assert.isAtLeast(cases.length, 300);
      for (const { pickle, repr } of cases) {
        const { value, limit } = Result.getOrThrow(readPickle(Buffer.from(pickle, "base64")));
        assert.strictEqual(pythonRepr(value, 2000), repr);
        assert.isUndefined(limit);
      }
    }).pipe(Effect.scoped),
  );

  it("that is one long text with escapes is decoded only as far as it is displayed", () => {
    const pickle = Buffer.alloc(8 * 1024 * 1024, "\\u00e9");
    pickle.write("V", 0);
    pickle.write("\n.", pickle.length - 2);
    const { value } = Result.getOrThrow(readPickle(pickle));
    // The size is a more reliable measure than the time: with all escapes decoded it would be several megabytes.
    assert.instanceOf(value, Text);
    assert.isAtMost(value.bytes.length, 1024 * 1024);
    assert.match(pythonRepr(value, 2000), /^'u?.*é{100,} …$/);
  });

  it.live("is unpickled by run --load in a process without secrets", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const marker = join(folder, "marker");
      const file = join(folder, "requests.json");
      const secret = "a-secret-api-key";
      const code = `__import__('os').mkdir(${JSON.stringify(marker)}) or dict(__import__('os').environ)`;
      writeFileSync(
        file,
        JSON.stringify([
          { input: returning(`(eval, (${JSON.stringify(code)},))`) },
          { input: returning(`(eval, ("1/0",))`) },
        ]),
      );
      const run = yield* runCommandLine(["run", "--load", file], {
        ...realEnvironment(),
        RUNPOD_API_KEY: secret,
        ANOTHER_SECRET: secret,
      });
      assert.strictEqual(run.code, 0, run.stderr);
      assert.isTrue(existsSync(marker));
      assert.include(run.stdout, "  result: {'PATH': ");
      assert.notInclude(run.stdout, secret);
      assert.include(
        run.stdout,
        "a value that can't be shown: it can't be loaded here: ZeroDivisionError",
      );
    }).pipe(Effect.scoped),
  );
});
