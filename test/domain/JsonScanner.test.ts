import { assert, describe, it } from "@effect/vitest";
import { Effect, Result, Schema } from "effect";

import { JsonInvalid, type JsonLimits, JsonTooComplex } from "../../src/domain/JsonLimits.ts";
import { JsonScanner } from "../../src/domain/JsonScanner.ts";
import { countsOf, LIMIT_NAMES } from "../support/values/JsonCounts.ts";

/** Scans a text in pieces of this length, each a part of a larger buffer. */
const problemOf = (text: string, piece = Math.max(1, text.length), limits?: JsonLimits) => {
  const scanner = new JsonScanner(limits);
  const bytes = Buffer.from(`]${text}]`).subarray(1, -1);
  for (let at = 0; at < bytes.length; at += piece) scanner.write(bytes.subarray(at, at + piece));
  return scanner.end();
};

/** Whether `JSON.parse` accepts a text. */
const isJson = (text: string): boolean =>
  Result.isSuccess(Result.try((): unknown => JSON.parse(text)));

/** A value as ASCII text, as Python's json writes it. */
const inAscii = (value: unknown, indent?: number): string =>
  JSON.stringify(value, null, indent).replaceAll(
    /[\u007F-\uFFFF]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

const PIECES = [1, 3, undefined];

/** Texts with every kind of token, in places where it may be invalid. */
const SAMPLES = [
  '{"a": [1, -2.5e+3, true], "b": {}}',
  '[{}, [], null, "x", {"k": false}]',
  '"\\u00e9\\n\\\\\\""',
  "-120.340E-05",
  ' \t\r\n[0.5 , "" ] ',
];

const LETTERS = ["", ...'{}[]:,"\\ \t\n\u0001/09aAfFgGuUnte-+.'];

/** All prefixes of a text, and all texts with one character removed, replaced or inserted. */
const variantsOf = (text: string): ReadonlyArray<string> => {
  const starts = Array.from({ length: text.length + 1 }, (_, at) => text.slice(0, at));
  return [
    ...starts,
    ...starts.flatMap((start, at) => LETTERS.map((letter) => start + letter + text.slice(at))),
    ...starts.flatMap((start, at) => LETTERS.map((letter) => start + letter + text.slice(at + 1))),
  ];
};

describe("JsonScanner", () => {
  it.each(SAMPLES)("accepts %j and its variations exactly if they are JSON", (text) => {
    assert.isUndefined(problemOf(text));
    const wrong = variantsOf(text).filter((variant) => {
      const expected = isJson(variant) ? undefined : "JsonInvalid";
      return PIECES.some((piece) => problemOf(variant, piece)?._tag !== expected);
    });
    assert.isEmpty(wrong);
  });

  it.effect.prop(
    "accepts any JSON text in ASCII at exactly its limits, and rejects it at lower ones",
    [Schema.Json],
    ([json]) =>
      Effect.sync(() => {
        const counts = countsOf(JSON.parse(JSON.stringify(json)));
        for (const text of [inAscii(json), inAscii(json, 2)]) {
          for (const piece of PIECES) {
            assert.isUndefined(problemOf(text, piece, counts), text);
            for (const exceeded of LIMIT_NAMES.filter((name) => counts[name] > 0)) {
              const limit = counts[exceeded] - 1;
              const problem = problemOf(text, piece, { ...counts, [exceeded]: limit });
              assert.instanceOf(problem, JsonTooComplex);
              assert.deepInclude(problem, { exceeded, limit });
            }
          }
        }
      }),
  );

  it("reports the first error, whatever follows it", () => {
    const limits = { depth: 1, keys: 1, items: 10, numbers: 1 };
    for (const rest of ["", "]", "}", "x", "-", ",2]", "[[", '"\n']) {
      for (const piece of PIECES) {
        const tooMany = problemOf(`[1,-${rest}`, piece, limits);
        assert.deepInclude(tooMany, { _tag: "JsonTooComplex", exceeded: "numbers" });
        const tooDeep = problemOf(`[[${rest}`, piece, limits);
        assert.deepInclude(tooDeep, { _tag: "JsonTooComplex", exceeded: "depth" });
        assert.instanceOf(problemOf(`[1}${rest}`, piece, limits), JsonInvalid);
      }
    }
  });

  it("accepts Python's numbers up to a maximum length", () => {
    for (const piece of [1000, 4999, undefined]) {
      assert.isUndefined(problemOf(`[${"9".repeat(5000)}]`, piece));
      assert.instanceOf(problemOf(`[${"9".repeat(5001)}]`, piece), JsonInvalid);
      assert.instanceOf(problemOf("9".repeat(5001), piece), JsonInvalid);
    }
  });

  it("rejects characters outside ASCII, which would make length and bytes differ", () => {
    for (const letter of ["\u0080", "é", "\u2028", "😀"]) {
      for (const text of [`"${letter}"`, `["a${letter}b"]`, `{"${letter}":1}`, letter]) {
        assert.instanceOf(problemOf(text), JsonInvalid, text);
      }
    }
    assert.isUndefined(problemOf('"\u007F"'));
  });
});
