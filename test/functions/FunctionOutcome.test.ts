import { assert, describe, it } from "@effect/vitest";

import { EncodedValue } from "../../src/domain/EncodedValue.ts";
import { responseOf, responseOfFailure, itemOf } from "../../src/functions/FunctionOutcome.ts";
import type { CallOutcome } from "../../src/runner/call/Call.ts";
import { instanceOf } from "../support/fakes/FakeCalls.ts";
import { result } from "../support/fakes/FakeRunner.ts";

const limit = { bytes: 10_000, source: "a test allows" };
const rules = { limit, shown: (text: string) => text.toUpperCase() };

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

describe("the answer for a call", () => {
  it("has the value and the output", () => {
    assert.deepInclude(responseOf("json", succeeded, rules).toResponse(), {
      success: true,
      json_result: [1],
      error: null,
      stdout: "printed\n",
      instance_id: null,
    });
  });

  it("describes the instance that was used", () => {
    const { id, ...info } = instanceOf("a");
    const outcome = { ...succeeded, result: { ...result, instance: { id, ...info } } };
    assert.deepInclude(responseOf("json", outcome, rules).toResponse(), {
      instance_id: "a",
      instance_info: info,
    });
  });

  it.each([
    ["the type and the message", { message: "no" }, "VALUEERROR: NO"],
    ["the type where there is no message", {}, "VALUEERROR"],
    ["the message alone of what is no exception", { kind: "exit", message: "no" }, "NO"],
    [
      "the traceback after that",
      { message: "no", traceback: "line 1" },
      "VALUEERROR: NO\n\nLINE 1",
    ],
  ] as const)("says of an error %s", (_, error, expected) => {
    const answer = responseOf("json", failed(error), rules);
    assert.strictEqual(answer.error, expected);
    assert.strictEqual(answer.toResponse().stdout, "printed\n");
  });

  it.each([
    ["json", "AS JSON IT IS 9 MB"],
    ["cloudpickle", "PICKLED IT IS 9 MB, AND A THIRD MORE AS BASE64"],
  ] as const)("says how large a value is that is too large as %s", (format, expected) => {
    const { error } = responseOf(format, failed({ kind: "size", message: "9 MB" }), rules);
    assert.include(error, expected);
  });

  it("is a failure if the value is no JSON", () => {
    const outcome = { ...succeeded, value: jsonValue("NaN") };
    assert.include(responseOf("json", outcome, rules).error, "THE RESULT CAN'T BE RETURNED");
  });
});

describe("the answer for a failure", () => {
  it("has the output, if there is any", () => {
    assert.deepInclude(responseOfFailure(limit, "no", "printed").toResponse(), {
      success: false,
      error: "no",
      stdout: "printed",
    });
    assert.isNull(responseOfFailure(limit, "no").toResponse().stdout);
  });
});

describe("an item of a generator", () => {
  it("is streamed unless it is too large or no JSON", () => {
    assert.isDefined(itemOf(jsonValue("[1]")));
    assert.isUndefined(itemOf(undefined));
    assert.isUndefined(itemOf(jsonValue("NaN")));
  });
});
