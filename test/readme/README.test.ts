import { readFileSync } from "node:fs";

import { assert, describe, it } from "@effect/vitest";

import manifest from "../../package.json" with { type: "json" };
import { withSettings } from "./SettingsTable.ts";

const readme = readFileSync("README.md", "utf8");

describe("the README", () => {
  it("has the settings as they are declared (`npm run readme` writes them)", () => {
    assert.strictEqual(readme, withSettings(readme));
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
