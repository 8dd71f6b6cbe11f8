import { assert, describe, it } from "@effect/vitest";
import { ConfigProvider, Duration, Effect, Option } from "effect";

import { Environment } from "../../src/settings/Environment.ts";
import * as Setting from "../../src/settings/Setting.ts";
import { leaksOf } from "../support/values/Leaks.ts";

const DURATION = Setting.seconds({
  name: "TEST_DURATION",
  doc: "How long.",
  minimum: Duration.zero,
  fallback: Duration.seconds(30),
});
const LIMIT = Setting.optionalSeconds({ name: "TEST_LIMIT", doc: "At most." });
const COUNT = Setting.integer({
  name: "TEST_COUNT",
  doc: "How many.",
  minimum: 1,
  fallback: 4,
  alternativeName: "TEST_OTHER_COUNT",
});
const LEVEL = Setting.choice({
  name: "TEST_LEVEL",
  doc: "How much.",
  choices: ["low", "high"],
  fallback: "low",
});
const FLAG = Setting.flag({ name: "TEST_FLAG", doc: "Whether." });
const PLACE = Setting.optionalText({
  name: "TEST_PLACE",
  doc: "Where.",
  expected: "a path",
  fallback: "here",
});

Setting.optionalText({
  name: "TEST_ADDRESS",
  doc: "Where to.",
  expected: "an address",
  fallback: "none",
  isSecret: true,
});

const KEY = "rpa_Zq81mXw3Vt60bLk9Ys";

const given = (variables: Record<string, string>) =>
  Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord(variables)));

describe("Setting", () => {
  it.effect("uses the default if the variable is not set", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* DURATION.value, Duration.seconds(30));
      assert.deepStrictEqual(yield* LIMIT.value, Option.none());
      assert.strictEqual(yield* COUNT.value, 4);
      assert.strictEqual(yield* LEVEL.value, "low");
      assert.deepStrictEqual(yield* PLACE.value, Option.none());
    }).pipe(given({})),
  );

  it.effect.each([
    [{ TEST_OTHER_COUNT: "2" }, 2],
    [{ TEST_COUNT: "3", TEST_OTHER_COUNT: "2" }, 3],
    [{ TEST_COUNT: "3", TEST_OTHER_COUNT: "many" }, undefined],
    [{ TEST_OTHER_COUNT: "0" }, undefined],
  ] as const)("uses the alternative variable if the first is not set: %j", ([variables, value]) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Effect.orElseSucceed(COUNT.value, () => undefined), value);
      assert.strictEqual(COUNT.fallback, "TEST_OTHER_COUNT, else 4");
    }).pipe(given(variables)),
  );

  it.effect("reads fractions of seconds, limits, choices and strings", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* DURATION.value, Duration.millis(500));
      assert.deepStrictEqual(yield* LIMIT.value, Option.some(Duration.seconds(2)));
      assert.strictEqual(yield* LEVEL.value, "high");
      assert.deepStrictEqual(yield* PLACE.value, Option.some("/x"));
    }).pipe(given({ TEST_DURATION: "0.5", TEST_LIMIT: "2", TEST_LEVEL: "high", TEST_PLACE: "/x" })),
  );

  it.effect.each([
    ["1", true],
    ["True", true],
    ["YES", true],
    ["False", false],
    ["0", false],
  ] as const)("reads the flag %s", ([word, expected]) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* FLAG.value, expected);
    }).pipe(given({ TEST_FLAG: word })),
  );

  it.effect.each(["off", "0"])("reads %s as no limit", (word) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* LIMIT.value, Option.none());
    }).pipe(given({ TEST_LIMIT: word })),
  );

  it.effect.each([
    [DURATION, "TEST_DURATION", "soon"],
    [DURATION, "TEST_DURATION", "-1"],
    [DURATION, "TEST_DURATION", "NaN"],
    [LIMIT, "TEST_LIMIT", "-3"],
    [COUNT, "TEST_COUNT", "1.5"],
    [COUNT, "TEST_COUNT", "0"],
    [LEVEL, "TEST_LEVEL", "medium"],
  ] as const)(
    "rejects an invalid value, and names the variable and the expected format",
    ([setting, name, value]) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip<unknown, Setting.SettingInvalid, never>(setting.value);
        assert.include(error.message, `${name} is "${value}"`);
        assert.include(error.message, setting.expected);
        assert.include(error.message, setting.fallback);
      }).pipe(given({ [name]: value })),
  );

  it.effect("masks credentials in an invalid URL", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(COUNT.value);
      assert.include(error.message, 'TEST_COUNT is "https://***@host/?token=***"');
      const row = (yield* Setting.currentSettings).find(({ name }) => name === "TEST_COUNT");
      assert.deepStrictEqual(row?.given, Option.some("https://***@host/?token=***"));
    }).pipe(given({ TEST_COUNT: "https://me:pw@host/?token=abc" })),
  );

  it.effect("masks secrets in a long value before it is cut", () =>
    Effect.gen(function* () {
      for (let before = 170; before <= 200; before += 1) {
        const value = `${"x".repeat(before)}${KEY}${"y".repeat(100)}`;
        const error = yield* COUNT.value.pipe(
          Effect.flip,
          Effect.provide(Environment.layerOf({ RUNPOD_API_KEY: KEY, TEST_COUNT: value })),
        );
        assert.isEmpty(leaksOf(KEY, error.message));
        assert.include(error.message, "more characters)");
      }
    }),
  );

  it.effect("shows only that a secret is set", () =>
    Effect.gen(function* () {
      const row = (yield* Setting.currentSettings).find(({ name }) => name === "TEST_ADDRESS");
      assert.deepStrictEqual(row?.given, Option.some("set"));
    }).pipe(given({ TEST_ADDRESS: "https://host/path-that-is-a-token" })),
  );

  it("is listed with its documentation", () => {
    assert.deepInclude(
      Setting.declared().find(({ name }) => name === "TEST_DURATION"),
      { doc: "How long.", fallback: "30" },
    );
  });
});
