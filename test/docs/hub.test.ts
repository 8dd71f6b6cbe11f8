import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { assert, describe, it } from "@effect/vitest";
import { Schema } from "effect";

import { Hub, HubTests } from "./HubSchema.ts";
import { settingsTable } from "./SettingsTable.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const fileOf = (name: string) => join(ROOT, ".runpod", name);

const jsonOf = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));

/** Refuses keys that the Hub does not know. */
const strict = { onExcessProperty: "error" } as const;

const hub = () => Schema.decodeUnknownSync(Hub)(jsonOf(fileOf("hub.json")), strict);
const tests = () => Schema.decodeUnknownSync(HubTests)(jsonOf(fileOf("tests.json")), strict);

const Requests = Schema.Struct({ input: Schema.Unknown });
const firstInput = (fixture: string) => {
  const requests = Schema.Union([Requests, Schema.NonEmptyArray(Requests)]);
  const found = Schema.decodeUnknownSync(requests)(
    jsonOf(join(ROOT, "fixtures", `${fixture}.json`)),
  );
  return "input" in found ? found.input : found[0].input;
};

describe("the files for the RunPod Hub", () => {
  it("have the documented keys and values", () => {
    assert.strictEqual(hub().config.runsOn, "GPU");
    assert.isNotEmpty(tests().tests);
  });

  it("offer settings that the worker has, and presets for offered settings", () => {
    const { env = [], presets = [] } = hub().config;
    const keys = [...env, ...(tests().config.env ?? [])].map(({ key }) => key);
    const table = settingsTable();
    for (const key of keys) assert.include(table, `| \`${key}\` |`);
    for (const { defaults } of presets) {
      for (const key of Object.keys(defaults)) assert.include(keys, key);
    }
  });

  it("offer defaults within their limits and options", () => {
    for (const variable of hub().config.env ?? []) {
      if (!("input" in variable)) continue;
      const { input } = variable;
      if (input.type === "number") {
        assert.isAtLeast(input.default ?? 0, input.min ?? -Infinity);
        assert.isAtMost(input.default ?? 0, input.max ?? Infinity);
      } else if (input.type === "string" && input.options !== undefined) {
        assert.include(
          input.options.map(({ value }) => value),
          input.default,
        );
      }
    }
  });

  it("test the endpoint with the first request of fixtures", () => {
    for (const { name, input } of tests().tests) assert.deepStrictEqual(input, firstInput(name));
  });

  it("include the Dockerfile, the handler and the README that the Hub requires", () => {
    // A copy, because BuildKit does not follow a link from one folder to another.
    assert.strictEqual(
      readFileSync(fileOf("Dockerfile"), "utf8"),
      readFileSync(join(ROOT, "docker", "Dockerfile"), "utf8"),
      "cp docker/Dockerfile .runpod/Dockerfile",
    );
    assert.isTrue(existsSync(fileOf("handler.py")));
    assert.isTrue(existsSync(join(ROOT, "README.md")));
  });
});
