import { assert, describe, it } from "@effect/vitest";

import { excerpt } from "../../src/settings/Excerpt.ts";

describe("excerpt", () => {
  it("leaves a text alone that is short enough", () => {
    assert.strictEqual(excerpt("0123456789", 10), "0123456789");
  });

  it("says how much of a longer text is missing", () => {
    assert.strictEqual(excerpt("0123456789ab", 10), "0123456789… (2 more characters)");
  });

  it("cuts no character in two", () => {
    assert.strictEqual(excerpt("012345678😀a", 10), "012345678… (3 more characters)");
  });
});
