import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import type { FunctionRequest, SerializationFormat } from "../../../src/domain/FunctionRequest.ts";
import { payloads } from "../../../src/runner/call/Arguments.ts";
import { bestOf } from "../../support/effects/EventLoop.ts";

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
      assert.isBelow((yield* bestOf(5, read, MAX_GAP_MILLIS)).longestGap, MAX_GAP_MILLIS);
    }),
  );

  it.effect("returns arguments in the JSON format as JSON texts", () =>
    Effect.gen(function* () {
      const texts = yield* payloads(requestOf(["AAAA", { a: [null] }], "json"));
      assert.deepStrictEqual(texts.map(String), ['"AAAA"', '{"a":[null]}']);
    }),
  );

  const LOSSLESS = `{
    "args": [1.0, -0.0, 1152921504606846977, 1e400, [1.50], "\\u00e9", {"b": 1, "1": 2.0}],
    "kwargs": {"x": 1.0, "y": {"a" : 3.0}, "x": 2.0}, "other": [7.0]
  }`;

  it.effect("returns the JSON texts that the client wrote", () =>
    Effect.gen(function* () {
      const { args, kwargs } = JSON.parse(LOSSLESS);
      const request = { ...requestOf(args, "json"), kwargs };
      const texts = yield* payloads(request, Buffer.from(LOSSLESS));
      assert.deepStrictEqual(
        texts.map((text) => text.toString().trim()),
        [
          "1.0",
          "-0.0",
          "1152921504606846977",
          "1e400",
          "[1.50]",
          String.raw`"\u00e9"`,
          '{"b": 1, "1": 2.0}',
          "2.0",
          '{"a" : 3.0}',
        ],
      );
    }),
  );

  it.effect("returns the texts of all arguments of a long list", () =>
    Effect.gen(function* () {
      const args = Array.from({ length: 4000 }, () => 1);
      const text = Buffer.from(`{"args":[${args.map(() => "1.0").join(",")}]}`);
      const texts = yield* payloads(requestOf(args, "json"), text);
      assert.isTrue(texts.every((one) => one.toString() === "1.0"));
      assert.lengthOf(texts, 4000);
    }),
  );

  it.effect("returns the texts of a constructor's arguments after those of the method", () =>
    Effect.gen(function* () {
      const text =
        '{"args": [1.0], "kwargs": null, "constructor_args": [2.0], "constructor_kwargs": {"c": 3.0}}';
      const request: FunctionRequest = {
        ...requestOf([1], "json"),
        kind: "class",
        method: "m",
        constructorArgs: [2],
        constructorKwargs: { c: 3 },
        instanceId: undefined,
        createNewInstance: true,
      };
      const texts = yield* payloads(request, Buffer.from(text));
      assert.deepStrictEqual(
        texts.map((one) => one.toString().trim()),
        ["1.0", "2.0", "3.0"],
      );
    }),
  );

  it.effect("blocks the event loop for less than 100 ms with 4,000 names and 20 MB of values", () =>
    Effect.gen(function* () {
      const value = "x".repeat(5000);
      const kwargs = Object.fromEntries(
        Array.from({ length: 4000 }, (_, index) => [`name_${index}`, value]),
      );
      const text = Buffer.from(JSON.stringify({ kwargs }));
      const read = payloads({ ...requestOf([], "json"), kwargs }, text);
      assert.isBelow(
        (yield* bestOf(5, Effect.exit(read), MAX_GAP_MILLIS)).longestGap,
        MAX_GAP_MILLIS,
      );
    }),
  );
});
