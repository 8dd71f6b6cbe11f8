import { readdirSync, readFileSync } from "node:fs";

import { assert, describe, it } from "@effect/vitest";

import { judge } from "../../../src/cli/requests/Expectation.ts";
import { PythonInstallFailed } from "../../../src/dependencies/pip/PythonInstallFailed.ts";
import { failure, success } from "../../../src/domain/FunctionResponse.ts";

/** The request files of this project that ask for packages. */
const withPackages = readdirSync("fixtures")
  .filter((name) => name.endsWith(".json"))
  .flatMap((name) => {
    const file: unknown = JSON.parse(readFileSync(`fixtures/${name}`, "utf8"));
    return Array.isArray(file) ? file : [file];
  })
  .filter(({ input }) => (input.dependencies ?? []).length > 0);

it("request files that ask for packages are skipped where no index can be reached", () => {
  const error = PythonInstallFailed.from(["a"], "error: Failed to fetch: `http://localhost:1/a/`");
  assert.isNotEmpty(withPackages);
  for (const { expect } of withPackages) {
    const verdict = judge(expect, failure(error.message), undefined);
    assert.strictEqual(verdict._tag, "Skipped");
  }
});

describe("judge", () => {
  it("is content with an answer that has everything named", () => {
    const answer = success({ stdout: "one\ntwo\n", json_result: { a: [1] } });
    assert.deepStrictEqual(
      judge(
        { success: true, result: "3", json_result: { a: [1] }, stdout: ["one", "two"] },
        answer,
        "3",
      ),
      { _tag: "Met" },
    );
  });

  it("names each difference", () => {
    const verdict = judge(
      { success: true, result: "3", stdout: ["two", "one"], error: ["x"], method_calls: 2 },
      failure("why", { stdout: "one two" }),
      undefined,
    );
    assert.strictEqual(verdict._tag, "Unmet");
    const text = verdict._tag === "Unmet" ? verdict.differences.join("\n") : "";
    for (const part of ["success", "result", "method_calls", 'error: "x"', 'stdout: "one"']) {
      assert.include(text, part);
    }
  });

  it("skips what a machine can't do, for the reason that the file gives", () => {
    const expectation = {
      success: true,
      skip: [{ error: "No module named 'torch'", reason: "needs PyTorch" }],
    };
    assert.deepStrictEqual(
      judge(expectation, failure("ModuleNotFoundError: No module named 'torch'"), undefined),
      {
        _tag: "Skipped",
        reason: "needs PyTorch",
      },
    );
    assert.strictEqual(judge(expectation, failure("something else"), undefined)._tag, "Unmet");
  });
});
