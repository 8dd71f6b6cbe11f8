import { assert, describe, it } from "@effect/vitest";
import { Effect, Result, Schema } from "effect";

import {
  checkJson,
  elementsOf,
  JSON_LIMITS,
  JsonInvalid,
  type JsonLimits,
  JsonTooComplex,
  memberTexts,
  parseJson,
  stringMember,
} from "../../src/domain/JsonLimits.ts";
import { countsOf, LIMIT_NAMES } from "../support/values/JsonCounts.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);

const parsed = (text: string, limits?: JsonLimits) =>
  Result.getOrThrow(parseJson(bytesOf(text), limits));

const failed = (text: string, limits?: JsonLimits) =>
  Result.getOrThrow(Result.flip(parseJson(bytesOf(text), limits)));

/** Whether a text passes at exactly these limits, and fails for the right reason if one of them is lower by one. */
const isExactly = (text: string, counts: JsonLimits): boolean =>
  Result.isSuccess(checkJson(bytesOf(text), counts)) &&
  LIMIT_NAMES.filter((exceeded) => counts[exceeded] > 0).every((exceeded) => {
    const limit = counts[exceeded] - 1;
    return Result.match(checkJson(bytesOf(text), { ...counts, [exceeded]: limit }), {
      onFailure: (error) => error.exceeded === exceeded && error.limit === limit,
      onSuccess: () => false,
    });
  });

describe("checkJson", () => {
  it.effect.prop(
    "counts the same values as JSON.parse, in any JSON text",
    [Schema.Json],
    ([json]) =>
      Effect.sync(() => {
        const text = JSON.stringify(json);
        const again: unknown = JSON.parse(text);
        assert.isTrue(isExactly(text, countsOf(again)));
        assert.isTrue(isExactly(JSON.stringify(again, null, "\t \r"), countsOf(again)));
      }),
  );

  it.effect.prop("counts any string as one item, whatever it contains", [Schema.String], ([text]) =>
    Effect.sync(() => {
      for (const filler of ["", "x".repeat(31), "\\".repeat(33), '"'.repeat(70), "é".repeat(40)]) {
        for (const value of [filler + text, text + filler, filler + text + filler]) {
          assert.isTrue(
            isExactly(JSON.stringify([value, 1]), { depth: 1, keys: 0, items: 2, numbers: 1 }),
          );
        }
      }
    }),
  );

  it("finds the end of a string with escapes anywhere in it", () => {
    for (let before = 0; before < 100; before += 1) {
      for (const escapes of ["\\", "\\\\", '"', '\\"', '""', '\\\\"', "[{:,", "\\[", '"]}']) {
        const text = JSON.stringify([`${"x".repeat(before)}${escapes}`, { a: true }]);
        assert.isTrue(isExactly(text, { depth: 2, keys: 1, items: 4, numbers: 1 }));
      }
    }
  });

  it.each([
    ["lists in each other", "[".repeat(5_000_000), "depth"],
    ["objects in each other", '{"a":'.repeat(1_000_000), "depth"],
    ["lists and objects in each other", '[{"":'.repeat(1_000_000), "depth"],
    ["members of one object", `{${'"k":1,'.repeat(700_000)}"k":1}`, "keys"],
    ["lists in a list", `[${"[],".repeat(1_000_000)}[]]`, "items"],
    ["strings in a list", `[${'"",'.repeat(1_000_000)}""]`, "items"],
    ["numbers in a list", `[${"1,".repeat(3_000_000)}1]`, "numbers"],
    ["nulls in a list", `[${"null,".repeat(3_000_000)}1]`, "numbers"],
  ] as const)("rejects too many %s with the limit in the message", (_, text, exceeded) => {
    const error = failed(text);
    assert.instanceOf(error, JsonTooComplex);
    assert.deepInclude(error, { exceeded, limit: JSON_LIMITS[exceeded] });
    assert.include(error.message, JSON_LIMITS[exceeded].toLocaleString("en"));
  });

  it("searches the end of a string only a few times, however many escaped quotes it has", () => {
    let searches = 0;
    class CountedBytes extends Uint8Array<ArrayBuffer> {
      override indexOf(byte: number, from: number): number {
        searches += 1;
        return super.indexOf(byte, from);
      }
    }
    const text = JSON.stringify('"'.repeat(10_000));
    assert.isTrue(Result.isSuccess(checkJson(CountedBytes.from(bytesOf(text)))));
    assert.isBelow(searches, 1000);
  });

  it("stops reading where a limit is exceeded", () => {
    const text = bytesOf(`${"[".repeat(101)}${" ".repeat(1000)}`);
    let last = 0;
    const watched = new Proxy(text, {
      get: (target, key) => {
        if (typeof key === "string" && /^\d+$/.test(key)) last = Math.max(last, Number(key));
        const value: unknown = Reflect.get(target, key, target);
        return value;
      },
    });
    assert.isTrue(Result.isFailure(checkJson(watched)));
    assert.isAtMost(last, 101);
  });

  it.each([
    "",
    "[",
    "]",
    "]]]]",
    '"',
    '"\\',
    '["abc',
    "{",
    "}{",
    '{"a',
    ":",
    "\u0000",
    "[1",
    '"\\"',
  ])("comes to an end with %j, which is not JSON", (text) => {
    assert.isTrue(Result.isSuccess(checkJson(bytesOf(text))));
    assert.instanceOf(failed(text), JsonInvalid);
  });
});

describe("parseJson", () => {
  it.effect.prop("parses like JSON.parse", [Schema.Json], ([json]) =>
    Effect.sync(() => {
      const text = JSON.stringify(json);
      assert.deepStrictEqual(parsed(text), JSON.parse(text));
    }),
  );

  it.effect.prop("rejects the same texts as JSON.parse", [Schema.String], ([text]) =>
    Effect.sync(() => {
      const expected = Result.try((): unknown => JSON.parse(text));
      const found = parseJson(bytesOf(text));
      assert.strictEqual(Result.isSuccess(found), Result.isSuccess(expected), text);
    }),
  );

  it("ignores a byte order mark, and reads a part of a buffer", () => {
    assert.deepStrictEqual(parsed('\uFEFF{"a":"ö"}'), { a: "ö" });
    const part = bytesOf('xx["é"]yy').subarray(2, 8);
    assert.deepStrictEqual(Result.getOrThrow(parseJson(part)), ["é"]);
  });

  it("counts a string of 20 MB as one item", () => {
    const text = "A".repeat(20_000_000);
    assert.strictEqual(parsed(`"${text}"`, { depth: 0, keys: 0, items: 1, numbers: 0 }), text);
  });

  it("reports the position of a syntax error, and does not quote the text", () => {
    const error = failed('{"token": "rpa_SECRET", oops}');
    assert.strictEqual(
      error.message,
      "Invalid JSON: syntax error at position 24 (line 1 column 25).",
    );
    const deeper = failed(`${"\n".repeat(15)}{"token": "rpa_SECRET", oops}`);
    assert.match(deeper.message, /at position 39 \(line 16 column 25\)\.$/);
    assert.notInclude(failed("rpa_SECRET").message, "SECRET");
    assert.notInclude(failed("rpa_SECRET").message, "early");
    assert.strictEqual(failed('{"a": ').message, "Invalid JSON: unexpected end.");
  });
});

const textsOf = (text: string) =>
  elementsOf(bytesOf(text)).map((bytes) => new TextDecoder().decode(bytes));

describe("parts of a JSON text", () => {
  it.effect.prop("are the elements of any list", [Schema.Array(Schema.Json)], ([list]) =>
    Effect.sync(() => {
      for (const text of [JSON.stringify(list), JSON.stringify(list, null, 2)]) {
        const again = textsOf(text).filter((part) => part.trim() !== "");
        assert.deepStrictEqual(
          again.map((part): unknown => JSON.parse(part)),
          JSON.parse(text),
        );
      }
    }),
  );

  it("are the text itself if it is not a list", () => {
    for (const text of ['{"a":[1,2]}', "1", '"[1,2]"', "", " "]) {
      assert.deepStrictEqual(textsOf(text), [text]);
    }
  });

  it("are at most a thousand", () => {
    assert.lengthOf(textsOf(`[${"1,".repeat(1_000_000)}1]`), 1000);
  });

  it.effect.prop(
    "are members that are found by name without parsing the other ones",
    [Schema.String, Schema.Json],
    ([name, other]) =>
      Effect.sync(() => {
        const around = JSON.stringify(other);
        const key = JSON.stringify(name.slice(0, 100));
        const text = `{"x": ${around}, ${key}\t: "value" , "deep":${"[".repeat(500)}${"]".repeat(500)}}`;
        const expected = name === "deep" ? undefined : "value";
        assert.strictEqual(stringMember(bytesOf(text), name.slice(0, 100)), expected);
      }),
  );

  it("have no member if it is missing or not a short string", () => {
    for (const text of ["{}", "[]", "", '{"id":1}', '{"a":{"id":"x"}}', '["id","x"]', '{"id"']) {
      assert.isUndefined(stringMember(bytesOf(text), "id"), text);
    }
    assert.strictEqual(stringMember(bytesOf(`{"id":"${"x".repeat(998)}"}`), "id")?.length, 998);
    assert.isUndefined(stringMember(bytesOf(`{"id":"${"x".repeat(999)}"}`), "id"));
    assert.strictEqual(stringMember(bytesOf('{"id":"first","id":"last"}'), "id"), "last");
  });

  it("are the texts of exactly the requested members", () => {
    const text = '{"a": [1, {"b": 2}], "b" :{"a":3},"c":4, 5: 6, "a" : "last"}';
    const found = memberTexts(bytesOf(text), ["a", "b", "none"]);
    assert.deepStrictEqual(
      Array.from(found, ([name, bytes]) => [name, new TextDecoder().decode(bytes).trim()]),
      [
        ["a", '"last"'],
        ["b", '{"a":3}'],
      ],
    );
  });
});
