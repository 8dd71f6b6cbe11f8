import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, Layer, Path, Runtime, Stdio, Stream } from "effect";
import { Command } from "effect/cli";
import { TestConsole } from "effect/testing";

import { run } from "../../../src/cli/commands/run.ts";
import { RequestExecutor } from "../../../src/cli/requests/RequestExecutor.ts";
import { ResultDisplay } from "../../../src/cli/results/ResultDisplay.ts";
import { failure, type FunctionResponse, success } from "../../../src/domain/FunctionResponse.ts";
import { JobListener } from "../../../src/domain/JobEvents.ts";

/** A pickle of 42. */
const VALUE = Buffer.from("K*.").toString("base64");

/** Responses by function name. */
const RESPONSES: Readonly<Record<string, FunctionResponse>> = {
  good: success({ result: VALUE, stdout: "printed\n" }),
  bad: failure("ValueError: no\n\nTraceback", { stdout: "" }),
  odd: failure("one\u2028line\rof it\n\nTraceback\u2028of it"),
  plain: success({ json_result: { a: 1 } }),
  method: success({
    result: VALUE,
    instance_id: "C_1",
    instance_info: { class_name: "C", created_at: "t", method_calls: 2, last_used: "t" },
  }),
};

const fakes = Layer.mergeAll(
  Layer.succeed(
    RequestExecutor,
    RequestExecutor.of({
      execute: ({ input }) =>
        Effect.gen(function* () {
          const name = String(Object.values(input ?? {})[0]);
          const response = RESPONSES[name] ?? failure(`no ${name}`);
          if (name === "good")
            (yield* JobListener).notify({ _tag: "OutputWritten", lines: "printed\n" });
          return response;
        }),
    }),
  ),
  ResultDisplay.layer,
);

/** Runs the command with files that contain these texts; the text of `-` is stdin. */
const runFiles = Effect.fnUntraced(
  function* (flags: ReadonlyArray<string>, texts: Readonly<Record<string, string>>) {
    const files = yield* FileSystem.FileSystem;
    const path = yield* Path.Path;
    const folder = yield* files.makeTempDirectoryScoped();
    const named: Array<string> = [];
    for (const [name, text] of Object.entries(texts)) {
      if (name !== "-" && !name.startsWith("missing")) {
        yield* files.writeFileString(path.join(folder, name), text);
      }
      named.push(name === "-" ? name : path.join(folder, name));
    }
    const exit = yield* Effect.exit(
      Command.runWith(run, { version: "1" })([...flags, ...named]).pipe(
        Effect.provide(Stdio.layerTest({ stdin: Stream.make(Buffer.from(texts["-"] ?? "")) })),
      ),
    );
    let code = 0;
    Runtime.defaultTeardown(exit, (given) => {
      code = given;
    });
    const clean = (lines: ReadonlyArray<unknown>) =>
      lines
        .join("\n")
        .replaceAll(`${folder}/`, "")
        .replaceAll(/\d+\.\d\d s/g, "0.00 s");
    return {
      code,
      out: clean(yield* TestConsole.logLines),
      err: clean(yield* TestConsole.errorLines),
    };
  },
  Effect.scoped,
  Effect.provide(Layer.merge(fakes, NodeServices.layer)),
);

const request = (name: string, more: object = {}) =>
  JSON.stringify({ input: { function_name: name }, ...more });

describe("run", () => {
  it.effect("shows the output, the Python repr of the result, and the run time", () =>
    Effect.gen(function* () {
      const { code, out } = yield* runFiles([], { "a.json": request("good") });
      assert.strictEqual(code, 0);
      assert.strictEqual(out, "▶ a.json\nprinted\n✓ succeeded in 0.00 s\n  result: 42");
    }),
  );

  it.effect("shows each line of an error once, and escapes other line separators", () =>
    Effect.gen(function* () {
      const { out } = yield* runFiles([], { "a.json": request("odd") });
      assert.strictEqual(
        out,
        "▶ a.json\n✗ a.json failed in 0.00 s: one\\u2028line\\rof it\n  Traceback\u2028of it",
      );
    }),
  );

  it.effect(
    "shows errors indented, instances with their number of calls, and a summary at the end",
    () =>
      Effect.gen(function* () {
        const { code, out } = yield* runFiles([], {
          "a.json": request("bad"),
          "b.json": request("method"),
          "c.json": request("plain"),
        });
        assert.strictEqual(code, 1);
        assert.strictEqual(
          out,
          "▶ a.json\n✗ a.json failed in 0.00 s: ValueError: no\n  Traceback\n" +
            "▶ b.json\n✓ succeeded in 0.00 s\n  result: 42\n  instance: C_1 (2 calls)\n" +
            '▶ c.json\n✓ succeeded in 0.00 s\n  result: {"a":1}\n2 succeeded, 1 failed',
        );
      }),
  );

  it.effect("prints one response per line and nothing else on stdout with --json", () =>
    Effect.gen(function* () {
      const { code, out, err } = yield* runFiles(["--json"], {
        "a.json": request("good"),
        "b.json": request("bad"),
      });
      assert.strictEqual(code, 1);
      assert.deepStrictEqual(
        out.split("\n").map((line): unknown => JSON.parse(line)),
        [RESPONSES["good"], RESPONSES["bad"]],
      );
      assert.strictEqual(err, "printed\nb.json failed: ValueError: no");
    }),
  );

  it.effect("reports a file that is too complex or not JSON, and runs the others", () =>
    Effect.gen(function* () {
      const { code, out, err } = yield* runFiles([], {
        "deep.json": `{"input": ${"[".repeat(1_000_000)}`,
        "wide.json": `{"input": {"kwargs": {${'"k":1,'.repeat(700_000)}"k":1}}}`,
        "cut.json": '{"input": {"key": "rpa_SECRET", oops',
        "good.json": request("good"),
      });
      assert.strictEqual(code, 2);
      assert.include(
        err,
        "deep.json: The JSON is too complex: it is nested deeper than 100 levels",
      );
      assert.include(err, "wide.json: The JSON is too complex: its objects have more than 50,000");
      assert.include(err, "cut.json: invalid JSON");
      assert.notInclude(err, "SECRET");
      assert.include(out, "result: 42");
    }),
  );

  it.effect("reads bare requests, lists of requests, and standard input", () =>
    Effect.gen(function* () {
      const { code, out } = yield* runFiles([], {
        "bare.json": JSON.stringify({ function_name: "good" }),
        "list.json": `[${request("good")}, ${request("plain")}]`,
        "-": request("good"),
      });
      assert.strictEqual(code, 0);
      assert.include(out, "▶ list.json (2 of 2)");
      assert.include(out, "4 succeeded");
    }),
  );

  it.effect.each([
    ["missing.json", "", "missing.json: file not found"],
    ["cut.json", '{"input": {', "cut.json: invalid JSON"],
    ["number.json", "3", "number.json: not a request"],
    ["list.json", "[3]", "list.json: not a request"],
    ["odd.json", '{"input": {}, "expect": {"success": 3}}', 'odd.json: "expect": '],
  ] as const)(
    "reports that %s is invalid, runs the other files, and exits with 2",
    ([name, text, reason]) =>
      Effect.gen(function* () {
        const { code, out, err } = yield* runFiles([], {
          [name]: text,
          "good.json": request("good"),
        });
        assert.strictEqual(code, 2);
        assert.include(err, reason);
        assert.include(out, "✓ succeeded");
      }),
  );

  it.effect("compares responses with expectations with --check", () =>
    Effect.gen(function* () {
      const { code, out } = yield* runFiles(["--check"], {
        "met.json": request("good", {
          expect: { success: true, result: "42", stdout: ["printed"] },
        }),
        "failing.json": request("bad", { expect: { success: false, error: ["ValueError"] } }),
        "unmet.json": request("good", { expect: { success: true, result: "43" } }),
        "skipped.json": request("gpu", {
          expect: { success: true, skip: [{ error: "no gpu", reason: "needs a GPU" }] },
        }),
      });
      assert.strictEqual(code, 1);
      assert.include(out, "as expected");
      assert.include(out, '- result: expected "43", got "42"');
      assert.include(out, "- skipped: needs a GPU");
      assert.include(out, "2 as expected, 1 not as expected, 1 skipped");
    }),
  );

  it.effect("reports a failed check only by the exit code with --check and --json", () =>
    Effect.gen(function* () {
      const { code, out } = yield* runFiles(["--check", "--json"], {
        "unmet.json": request("good", { expect: { success: true, result: "43" } }),
      });
      assert.strictEqual(code, 1);
      assert.lengthOf(out.split("\n"), 1);
    }),
  );
});
