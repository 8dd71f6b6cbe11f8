import { globSync, readFileSync } from "node:fs";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import manifest from "../../package.json" with { type: "json" };
import { declared } from "../../src/settings/Setting.ts";
import { GENERATED_FILES, withGenerated } from "./Generated.ts";
import { brokenLinks, DOCUMENTS, textOf } from "./Markdown.ts";

/** All sources, with string literals joined across lines. */
const sources = globSync(["src/**/*.{ts,py}", "docker/**/*.py"])
  .map((name) => readFileSync(name, "utf8"))
  .join("\n")
  .replaceAll(/"\s*\n\s*"|\\/g, "");

const documentation = DOCUMENTS.map(textOf).join("\n");

describe("the documentation", () => {
  it.effect.each(GENERATED_FILES)("has current generated sections in %s (`npm run docs`)", (file) =>
    Effect.gen(function* () {
      const text = textOf(file);
      assert.strictEqual(text, yield* withGenerated(file, text));
    }),
  );

  it.each(DOCUMENTS)("has no broken relative links in %s", (document) => {
    assert.deepStrictEqual(brokenLinks(document, textOf(document)), []);
  });

  it("explains only messages that exist in the sources", () => {
    const table = textOf("docs/troubleshooting.md");
    const messages = [...table.matchAll(/^\| `([^|]+)` \|/gm)].map(([, message]) => message ?? "");
    assert.isAbove(messages.length, 15);
    for (const message of messages) {
      for (const part of message.split("…").map((text) => text.trim())) {
        assert.include(sources, part, message);
      }
    }
  });

  it("names only npm scripts that exist, as do the workflows", () => {
    const workflows = [".ci/run", ...globSync(".github/workflows/*.yml")].map(textOf).join("\n");
    const named = [
      ...`${documentation}\n${workflows}`.matchAll(/npm run (?:-s )?([a-z][a-z:-]*)/g),
    ].map(([, script]) => script ?? "");
    assert.isNotEmpty(named);
    assert.includeMembers(Object.keys(manifest.scripts), named);
  });

  it("names only settings that exist", () => {
    const named = [...documentation.matchAll(/\b(?:WORKER|WORKSPACE)_[A-Z_]+\b/g)].map(String);
    assert.isNotEmpty(named);
    assert.includeMembers(
      declared().map(({ name }) => name),
      named,
    );
  });

  it("explains each npm script in CONTRIBUTING", () => {
    const contributing = textOf(".github/CONTRIBUTING.md");
    const missing = Object.keys(manifest.scripts).filter(
      (script) => !contributing.includes(`\`${script}\``),
    );
    assert.deepStrictEqual(missing, []);
  });

  it("explains each dependency in docs/architecture.md", () => {
    const architecture = textOf("docs/architecture.md");
    const { dependencies, devDependencies, optionalDependencies } = manifest;
    for (const name of Object.keys({
      ...dependencies,
      ...devDependencies,
      ...optionalDependencies,
    })) {
      assert.include(architecture, `\`${name}\``);
    }
  });
});

describe("brokenLinks", () => {
  it("finds missing files and headings outside of code", () => {
    const text =
      "## One heading\n[a](#one-heading) [b](#two) [c](README.md) [d](missing.md) `[e](f.md)`\n";
    assert.deepStrictEqual(brokenLinks("CHANGELOG.md", text), ["#two", "missing.md"]);
  });
});

describe("the recording", () => {
  const drawing = textOf("docs/recording.svg");

  it("requires no other file, font or script", () => {
    assert.notMatch(drawing, /href|url\(|@import|@font-face|<script|<image|<foreignObject/i);
    assert.isBelow(Buffer.byteLength(drawing), 32 * 1024);
  });

  it("shows the current sources (`npm run recording`)", () => {
    const shown = drawing.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
    for (const file of globSync("test/docs/recording/*.py")) {
      const lines = textOf(file)
        .split("\n")
        .filter((line) => line.trim() !== "" && !line.startsWith("# fixture:"));
      for (const line of lines) assert.include(shown, `>${line.trim()}</text>`);
    }
  });
});
