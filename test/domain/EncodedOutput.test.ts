import { assert, describe, it } from "@effect/vitest";

import { EncodedOutput } from "../../src/domain/EncodedOutput.ts";
import type { ResponseLimit } from "../../src/domain/EncodedResponse.ts";
import { outputBody } from "../../src/queue/reports/JobResult.ts";
import { encodedJson } from "../support/values/EncodedValues.ts";

const limit: ResponseLimit = { bytes: 64 * 1024, source: "WORKER_RESULT_LIMIT allows" };

const resultOf = (output: EncodedOutput, refresh = false): unknown =>
  JSON.parse(Buffer.from(outputBody(output, refresh)).toString());

describe("the output of a deployed app", () => {
  it("is the bare value in the result of its job", () => {
    for (const value of [null, 0, "é", [], {}, { success: true, sum: [1, 2] }]) {
      const output = EncodedOutput.within(limit, { value: encodedJson(value) });
      assert.deepStrictEqual(resultOf(output), { output: value });
    }
  });

  it("has no copy of a large value, which can be inserted again", () => {
    const value = "x".repeat(400_000);
    const output = EncodedOutput.within({ ...limit, bytes: 1e6 }, { value: encodedJson(value) });
    assert.deepStrictEqual(resultOf(output), { output: value });
    assert.deepStrictEqual(resultOf(output, true), { output: value, stopPod: true });
  });

  it("fails its job with any JSON, and requests a fresh container", () => {
    const value = encodedJson({ partial: 1 });
    assert.deepStrictEqual(
      resultOf(EncodedOutput.within(limit, { value, error: { code: 7 }, refresh: true })),
      { output: { partial: 1 }, error: { code: 7 }, stopPod: true },
    );
    assert.deepStrictEqual(resultOf(EncodedOutput.within(limit, { error: "no" })), { error: "no" });
  });

  it("is left out of a failed job if it is an empty object, as in runpod-python", () => {
    const value = encodedJson({});
    assert.deepStrictEqual(resultOf(EncodedOutput.within(limit, { value, error: "no" })), {
      error: "no",
    });
  });

  it("is replaced by an error that names the limit if it is too large", () => {
    const output = EncodedOutput.within(limit, { value: encodedJson("x".repeat(70_000)) });
    assert.deepStrictEqual(Object.keys(Object(resultOf(output))), ["error"]);
    assert.include(output.error, "WORKER_RESULT_LIMIT allows at most 64 KiB");
    assert.include(output.error, "69.4 KiB");
  });

  it("of an exception has its traceback, and both stay within the limit", () => {
    assert.deepStrictEqual(resultOf(EncodedOutput.exception(limit, "no", "Traceback …")), {
      output: { success: false, traceback: "Traceback …" },
      error: "no",
    });
    const long = EncodedOutput.exception(limit, "é".repeat(90_000), "\n".repeat(90_000));
    assert.isAtMost(long.toResult(false).byteLength, limit.bytes);
  });

  it("of a failure has the beginning of an error that exceeds the limit", () => {
    const output = EncodedOutput.failure(limit, `first ${"x".repeat(90_000)}`);
    assert.isAtMost(output.toResult(true).byteLength, limit.bytes);
    assert.match(String(output.error), /^first x/);
  });

  it("is an object with `output` in a stream", () => {
    const chunk = EncodedOutput.chunk(encodedJson("a")).toChunk();
    assert.strictEqual(Buffer.from(chunk).toString(), '{"output":"a"}');
  });
});
