import { assert, describe, it } from "@effect/vitest";
import { Duration, Option } from "effect";

import { EncodedValue } from "../../../src/domain/EncodedValue.ts";
import { FrameType } from "../../../src/runner/RunnerProtocol.ts";
import { type CallEnd, failureOf, interpretEnd } from "../../../src/runner/call/CallEnd.ts";
import { callMeta, instanceOf } from "../../support/fakes/FakeCalls.ts";
import { result } from "../../support/fakes/FakeRunner.ts";

const value = new EncodedValue("cloudpickle", 0);
const asJson = new EncodedValue("json", 0);

/** The end of an exchange with a response of the runner. */
const responseOf = (changes: object = {}, carried: EncodedValue | undefined = value) => ({
  response: { type: FrameType.result, call: 1, meta: { ...result, ...changes }, value: carried },
});

const error = { kind: "exception", type: "ValueError", message: "no", traceback: "" } as const;
const cancelled = { ...error, kind: "cancelled" } as const;
const ofClass = { ...callMeta, kind: "class" } as const;

describe("interpretEnd", () => {
  it.each([
    ["a value", callMeta, responseOf()],
    [
      "an error",
      callMeta,
      { response: { ...responseOf({ ok: false, error }).response, value: undefined } },
    ],
    ["a value and a new instance", ofClass, responseOf({ instance: instanceOf("a") })],
    [
      "a value and the requested instance",
      { ...ofClass, instanceId: "a" },
      responseOf({ instance: instanceOf("a") }),
    ],
  ] as const)("completes a call with %s", (_, meta, end) => {
    assert.strictEqual(interpretEnd(meta, { end, hasTimedOut: false })._tag, "Completed");
  });

  it.each([
    ["has an invalid field", callMeta, responseOf({ ok: "perhaps" })],
    ["has both a value and an error", callMeta, responseOf({ error })],
    ["fails without an error", callMeta, responseOf({ ok: false })],
    [
      "succeeds without a value",
      callMeta,
      { response: { ...responseOf().response, value: undefined } },
    ],
    ["has a value in another format", callMeta, responseOf({}, asJson)],
    ["has an instance for a function", callMeta, responseOf({ instance: instanceOf("a") })],
    [
      "has another instance than the requested one",
      { ...ofClass, instanceId: "b" },
      responseOf({ instance: instanceOf("a") }),
    ],
  ] as const)("rejects a response that %s", (_, meta, end) => {
    assert.deepStrictEqual(interpretEnd(meta, { end, hasTimedOut: false }), {
      _tag: "InvalidResponse",
    });
  });

  it("accepts a value after the timeout, but not an error of the interrupted code", () => {
    const stopped = {
      response: { ...responseOf({ ok: false, error: cancelled }).response, value: undefined },
    };
    assert.strictEqual(
      interpretEnd(callMeta, { end: responseOf(), hasTimedOut: true })._tag,
      "Completed",
    );
    assert.strictEqual(interpretEnd(callMeta, { end: stopped, hasTimedOut: true })._tag, "Stopped");
    assert.strictEqual(
      interpretEnd(callMeta, { end: stopped, hasTimedOut: false })._tag,
      "Completed",
    );
  });
});

describe("failureOf", () => {
  const exit = { code: undefined, signal: "SIGKILL" };
  const context = { output: "last", timeout: Option.some(Duration.minutes(1)), instances: 2 };

  it.each<readonly [Exclude<CallEnd, { _tag: "Completed" }>, object]>([
    [{ _tag: "Stopped" }, { _tag: "CallTimedOut", seconds: 60, killed: false }],
    [
      { _tag: "ProcessEnded", exit, hasTimedOut: true },
      { _tag: "CallTimedOut", seconds: 60, killed: true },
    ],
    [
      { _tag: "ProcessEnded", exit, hasTimedOut: false },
      { _tag: "RunnerCrashed", signal: "SIGKILL", instancesLost: 2 },
    ],
    [
      { _tag: "ProcessEnded", exit: { ...exit, fault: "no frame" }, hasTimedOut: false },
      { _tag: "RunnerCrashed", fault: "no frame" },
    ],
    [{ _tag: "InvalidResponse" }, { _tag: "RunnerUnavailable", hasStarted: true }],
  ])("maps %j to %j with the output", (end, expected) => {
    assert.deepInclude(failureOf(end, context), { ...expected, output: "last" });
  });
});
