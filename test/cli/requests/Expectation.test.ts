import { readdirSync, readFileSync } from "node:fs";

import { assert, describe, it } from "@effect/vitest";

import { checkResponse } from "../../../src/cli/requests/Expectation.ts";
import { PythonInstallFailed } from "../../../src/dependencies/pip/PythonInstallFailed.ts";
import { failure, success } from "../../../src/domain/FunctionResponse.ts";

/** The project's request files that require packages. */
const withPackages = readdirSync("fixtures")
  .filter((name) => name.endsWith(".json"))
  .flatMap((name) => {
    const file: unknown = JSON.parse(readFileSync(`fixtures/${name}`, "utf8"));
    return Array.isArray(file) ? file : [file];
  })
  .filter(({ input }) => (input.dependencies ?? []).length > 0);

it("request files that require packages are skipped if no package index is reachable", () => {
  const error = PythonInstallFailed.from(["a"], "error: Failed to fetch: `http://localhost:1/a/`");
  assert.isNotEmpty(withPackages);
  for (const { expect } of withPackages) {
    const verdict = checkResponse(expect, failure(error.message), undefined);
    assert.strictEqual(verdict._tag, "Skipped");
  }
});

describe("checkResponse", () => {
  it("accepts a response with everything that is expected", () => {
    const response = success({ stdout: "one\ntwo\n", json_result: { a: [1] } });
    assert.deepStrictEqual(
      checkResponse(
        { success: true, result: "3", json_result: { a: [1] }, stdout: ["one", "two"] },
        response,
        "3",
      ),
      { _tag: "Met" },
    );
  });

  it("lists each difference", () => {
    const verdict = checkResponse(
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

  it("skips a request that the machine does not support, with the reason in the file", () => {
    const expectation = {
      success: true,
      skip: [{ error: "No module named 'torch'", reason: "needs PyTorch" }],
    };
    assert.deepStrictEqual(
      checkResponse(
        expectation,
        failure("ModuleNotFoundError: No module named 'torch'"),
        undefined,
      ),
      {
        _tag: "Skipped",
        reason: "needs PyTorch",
      },
    );
    assert.strictEqual(
      checkResponse(expectation, failure("something else"), undefined)._tag,
      "Unmet",
    );
  });
});
