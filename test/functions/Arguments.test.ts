import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import type { FunctionRequest, SerializationFormat } from "../../src/domain/FunctionRequest.ts";
import { payloads } from "../../src/functions/Arguments.ts";
import { bestOf } from "../support/effects/EventLoop.ts";

const requestOf = (
  args: ReadonlyArray<unknown>,
  format: SerializationFormat = "cloudpickle",
): FunctionRequest => ({
  kind: "function",
  name: "f",
  code: "",
  args,
  kwargs: {},
  dependencies: [],
  systemDependencies: [],
  accelerateDownloads: true,
  format,
  modules: {},
});

/** Larger than the body of any request. */
const SIZE = 32_000_000;

/** The maximum time for which an argument may block the event loop, in milliseconds. */
const MAX_GAP_MILLIS = 100;

describe("payloads", () => {
  it.effect.each([
    ["gASVAgAAAAAAAABLAS4=", "80049502000000000000004b012e"],
    ["AAA=", "0000"],
    ["AA==", "00"],
    ["AA", "00"],
    ["-_+/", "fbffbf"],
  ] as const)("decodes the base64 %s", ([text, hex]) =>
    Effect.gen(function* () {
      const [bytes] = yield* payloads(requestOf([text]));
      assert.strictEqual(bytes?.toString("hex"), hex);
    }),
  );

  it.effect.each([
    "",
    "=",
    "====",
    "AAA=A",
    "A===",
    "AAAA.",
    ".AAAA",
    "AA AA",
    "AAAA\n",
    "AAé",
    1,
    null,
    {},
  ])("rejects %j, which is not base64", (value) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(payloads(requestOf(["AAAA", value])));
      assert.strictEqual(error.field, "args[1]");
      assert.include(error.message, "base64 of a cloudpickle");
    }),
  );

  it.effect.each([
    ["base64", "A".repeat(SIZE)],
    ["base64 with one character too many", `${"A".repeat(SIZE)}.`],
    ["padding", "=".repeat(SIZE)],
    ["letters and padding", "A=".repeat(SIZE / 2)],
    ["lines", `${"A".repeat(76)}\n`.repeat(SIZE / 77)],
    ["dots", ".".repeat(SIZE)],
    ["Chinese", "\u4e00".repeat(SIZE / 3)],
  ] as const)("blocks the event loop for less than 100 ms with 32 MB of %s", ([, text]) =>
    Effect.gen(function* () {
      const read = Effect.exit(payloads(requestOf([text])));
      assert.isBelow((yield* bestOf(3, read, MAX_GAP_MILLIS)).longestGap, MAX_GAP_MILLIS);
    }),
  );

  it.effect("returns arguments in the JSON format as JSON texts", () =>
    Effect.gen(function* () {
      const texts = yield* payloads(requestOf(["AAAA", { a: [null] }], "json"));
      assert.deepStrictEqual(texts.map(String), ['"AAAA"', '{"a":[null]}']);
    }),
  );
});
