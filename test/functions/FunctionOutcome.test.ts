import { assert, describe, it } from "@effect/vitest";

import { EncodedValue } from "../../src/domain/EncodedValue.ts";
import { responseOf, responseOfFailure, itemOf } from "../../src/functions/FunctionOutcome.ts";
import type { CallOutcome } from "../../src/runner/call/Call.ts";
import { instanceOf } from "../support/fakes/FakeCalls.ts";
import { result } from "../support/fakes/FakeRunner.ts";

const limit = { bytes: 10_000, source: "a test allows" };
const rules = { limit, formatError: (text: string) => text.toUpperCase() };

const jsonValue = (text: string) => {
  const value = new EncodedValue("json", Buffer.byteLength(text));
  value.write(Buffer.from(text));
  return value;
};

const succeeded: CallOutcome = { result, value: jsonValue("[1]"), output: "printed\n" };

const failed = (error: Partial<NonNullable<CallOutcome["result"]["error"]>>): CallOutcome => ({
  result: {
    ...result,
    ok: false,
    error: { kind: "exception", type: "ValueError", message: "", traceback: "", ...error },
  },
  value: undefined,
  output: "printed\n",
});

describe("responseOf", () => {
  it("returns the value and the output", () => {
    assert.deepInclude(responseOf("json", succeeded, rules).toResponse(), {
      success: true,
      json_result: [1],
      error: null,
      stdout: "printed\n",
      instance_id: null,
    });
  });

  it("describes the instance of the call", () => {
    const { id, ...info } = instanceOf("a");
    const outcome = { ...succeeded, result: { ...result, instance: { id, ...info } } };
    assert.deepInclude(responseOf("json", outcome, rules).toResponse(), {
      instance_id: "a",
      instance_info: info,
    });
  });

  it.each([
    ["the type and the message", { message: "no" }, "VALUEERROR: NO"],
    ["only the type without a message", {}, "VALUEERROR"],
    ["only the message of an error other than an exception", { kind: "exit", message: "no" }, "NO"],
    [
      "the traceback after the message",
      { message: "no", traceback: "line 1" },
      "VALUEERROR: NO\n\nLINE 1",
    ],
  ] as const)("returns for an error %s", (_, error, expected) => {
    const response = responseOf("json", failed(error), rules);
    assert.strictEqual(response.error, expected);
    assert.strictEqual(response.toResponse().stdout, "printed\n");
  });

  it.each([
    ["json", "ITS JSON IS 9 MB"],
    ["cloudpickle", "ITS PICKLE IS 9 MB, AND A THIRD MORE AS BASE64"],
  ] as const)(
    "returns the size of a value that is too large in the format %s",
    (format, expected) => {
      const { error } = responseOf(format, failed({ kind: "size", message: "9 MB" }), rules);
      assert.include(error, expected);
    },
  );

  it("returns a failure if the value is not valid JSON", () => {
    const outcome = { ...succeeded, value: jsonValue("NaN") };
    assert.include(responseOf("json", outcome, rules).error, "THE RESULT CAN'T BE RETURNED");
  });
});

describe("responseOfFailure", () => {
  it("returns the output if there is any", () => {
    assert.deepInclude(responseOfFailure(limit, "no", "printed").toResponse(), {
      success: false,
      error: "no",
      stdout: "printed",
    });
    assert.isNull(responseOfFailure(limit, "no").toResponse().stdout);
  });
});

describe("itemOf", () => {
  it("returns no response for an item that is too large or not valid JSON", () => {
    assert.isDefined(itemOf(jsonValue("[1]")));
    assert.isUndefined(itemOf(undefined));
    assert.isUndefined(itemOf(jsonValue("NaN")));
  });
});
