import { assert, describe, it } from "@effect/vitest";

import { polledOutput } from "../../../src/cli/requests/PolledOutput.ts";

describe("polledOutput", () => {
  it("returns each line once", () => {
    const { fresh, rest } = polledOutput();
    assert.strictEqual(fresh("a\nb\n"), "a\nb\n");
    assert.strictEqual(fresh("a\nb\n"), "");
    assert.strictEqual(fresh("b\nc\n"), "c\n");
    assert.strictEqual(rest("a\nb\nc\nd\n"), "d\n");
  });

  it("returns repeated lines as often as they were printed", () => {
    const { fresh, rest } = polledOutput();
    fresh("x\nx\n");
    assert.strictEqual(fresh("x\nx\ny\n"), "y\n");
    assert.strictEqual(rest("x\nx\ny\n"), "");
  });

  it("marks a gap between polls, and returns the whole output at the end", () => {
    const { fresh, rest } = polledOutput();
    fresh("1\n2\n");
    assert.strictEqual(fresh("8\n9\n"), "…\n8\n9\n");
    assert.strictEqual(rest("1\n2\n3\n8\n9\n"), "1\n2\n3\n8\n9\n");
  });

  it("returns all output at the end if nothing was shown before", () => {
    assert.strictEqual(polledOutput().rest("all\n"), "all\n");
  });
});
