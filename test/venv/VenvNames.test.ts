import { assert, describe, it } from "@effect/vitest";

import { formatVenvName, parseVenvName } from "../../src/venv/VenvNames.ts";

describe("the name of a virtual environment", () => {
  it("contains the version of Python, the fingerprint of the image and a number", () => {
    const name = { version: "3.12.1", fingerprint: "0af3", generation: 0, number: 12 };
    assert.strictEqual(formatVenvName(name), "3.12.1-0af3-12");
    assert.deepStrictEqual(parseVenvName("3.12.1-0af3-12"), name);
  });

  it("contains the generation of the place after the first one", () => {
    const name = { version: "3.12.1", fingerprint: "0af3", generation: 3, number: 12 };
    assert.strictEqual(formatVenvName(name), "3.12.1-0af3-3.12");
    assert.deepStrictEqual(parseVenvName("3.12.1-0af3-3.12"), name);
  });

  it.each([".building-0af3-1", "3.12.1-zzz-9", "3.12.1-0af3", "3.12.1-0af3-1.lock", "backup"])(
    "is not parsed from %s",
    (name) => {
      assert.isUndefined(parseVenvName(name));
    },
  );
});
