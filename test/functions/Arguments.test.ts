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

/** More than the body of any request. */
const SIZE = 32_000_000;

/** The longest time for which an argument may block the event loop, in milliseconds. */
const LONGEST_GAP = 100;

describe("arguments that are pickled", () => {
  it.effect.each([
    ["gASVAgAAAAAAAABLAS4=", "80049502000000000000004b012e"],
    ["AAA=", "0000"],
    ["AA==", "00"],
    ["AA", "00"],
    ["-_+/", "fbffbf"],
  ] as const)("are base64, as in %s", ([text, hex]) =>
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
  ])("are refused when they are no base64: %j", (value) =>
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
  ] as const)(
    "block the event loop for no more than 100 ms when they are 32 MB of %s",
    ([, text]) =>
      Effect.gen(function* () {
        const read = Effect.exit(payloads(requestOf([text])));
        assert.isBelow((yield* bestOf(3, read, LONGEST_GAP)).longestGap, LONGEST_GAP);
      }),
  );
});

it.effect("arguments as JSON are passed on as JSON texts", () =>
  Effect.gen(function* () {
    const texts = yield* payloads(requestOf(["AAAA", { a: [null] }], "json"));
    assert.deepStrictEqual(texts.map(String), ['"AAAA"', '{"a":[null]}']);
  }),
);
