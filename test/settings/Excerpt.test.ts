import { assert, describe, it } from "@effect/vitest";

import { excerpt } from "../../src/settings/Excerpt.ts";

describe("excerpt", () => {
  it("returns a short text unchanged", () => {
    assert.strictEqual(excerpt("0123456789", 10), "0123456789");
  });

  it("appends the number of omitted characters of a long text", () => {
    assert.strictEqual(excerpt("0123456789ab", 10), "0123456789… (2 more characters)");
  });

  it("does not split characters", () => {
    assert.strictEqual(excerpt("012345678😀a", 10), "012345678… (3 more characters)");
  });
});
