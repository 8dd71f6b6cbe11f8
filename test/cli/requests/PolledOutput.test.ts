import { assert, describe, it } from "@effect/vitest";

import { polledOutput } from "../../../src/cli/requests/PolledOutput.ts";

describe("output that is known by its last lines", () => {
  it("is shown line by line, each once", () => {
    const { fresh, rest } = polledOutput();
    assert.strictEqual(fresh("a\nb\n"), "a\nb\n");
    assert.strictEqual(fresh("a\nb\n"), "");
    assert.strictEqual(fresh("b\nc\n"), "c\n");
    assert.strictEqual(rest("a\nb\nc\nd\n"), "d\n");
  });

  it("that repeats itself is not shown less often", () => {
    const { fresh, rest } = polledOutput();
    fresh("x\nx\n");
    assert.strictEqual(fresh("x\nx\ny\n"), "y\n");
    assert.strictEqual(rest("x\nx\ny\n"), "");
  });

  it("that came too fast has a gap, and is shown whole at the end", () => {
    const { fresh, rest } = polledOutput();
    fresh("1\n2\n");
    assert.strictEqual(fresh("8\n9\n"), "…\n8\n9\n");
    assert.strictEqual(rest("1\n2\n3\n8\n9\n"), "1\n2\n3\n8\n9\n");
  });

  it("of which nothing was shown is shown at the end", () => {
    assert.strictEqual(polledOutput().rest("all\n"), "all\n");
  });
});
