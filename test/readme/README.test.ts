import { readdirSync, readFileSync } from "node:fs";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import manifest from "../../package.json" with { type: "json" };
import { withCommands } from "./CommandHelp.ts";
import { withSettings } from "./SettingsTable.ts";

const readme = readFileSync("README.md", "utf8");

/** All that the program could say, as it is written in its sources, without line breaks. */
const sources = readdirSync("src", { recursive: true, encoding: "utf8" })
  .filter((name) => /\.(ts|py)$/.test(name))
  .map((name) => readFileSync(`src/${name}`, "utf8"))
  .join("\n")
  .replaceAll(/"\s*\n\s*"|\\/g, "");

describe("the README", () => {
  it("has the settings as they are declared (`npm run readme` writes them)", () => {
    assert.strictEqual(readme, withSettings(readme));
  });

  it.effect("has the commands as they explain themselves (`npm run readme` writes them)", () =>
    Effect.gen(function* () {
      assert.strictEqual(readme, yield* withCommands(readme));
    }),
  );

  it("explains only messages that there are", () => {
    const [, rest = ""] = readme.split("## When something is wrong");
    const [table = ""] = rest.split("\n## ");
    const messages = [...table.matchAll(/^\| `([^|]+)` \|/gm)].map(([, message]) => message ?? "");
    assert.isAbove(messages.length, 15);
    for (const message of messages) {
      for (const part of message.split("…").map((text) => text.trim())) {
        assert.include(sources, part, message);
      }
    }
  });

  it("names only scripts that there are", () => {
    const named = [...readme.matchAll(/npm run ([a-z:-]+)/g)].map(([, script]) => script ?? "");
    assert.includeMembers(Object.keys(manifest.scripts), named);
  });

  it("says why each dependency is there", () => {
    for (const name of Object.keys({ ...manifest.dependencies, ...manifest.devDependencies })) {
      assert.include(readme, `\`${name}\``);
    }
  });
});
