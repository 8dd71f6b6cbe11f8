import { assert, describe, it } from "@effect/vitest";

import { EncodedValue } from "../../src/domain/EncodedValue.ts";

const encoded = (bytes: Buffer, piece: number): string => {
  const value = new EncodedValue("cloudpickle", bytes.length);
  for (let start = 0; start < bytes.length; start += piece) {
    value.write(bytes.subarray(start, start + piece));
  }
  return value.text();
};

describe("EncodedValue", () => {
  const lengths = [1, 2, 3, 4, 5, 6, 7, 255, 256, 257, 65_535, 65_536, 65_537, 3_000_001];

  it.each(lengths)("encodes %i bytes like Node's base64, in pieces of any size", (length) => {
    const bytes = Buffer.from(
      Array.from({ length }, (_, index) => (index * 167 + (index >> 8)) & 255),
    );
    for (const piece of [1, 2, 3, 4, 5, 1000, 65_536, length]) {
      if (length / piece > 100_000) continue;
      assert.isTrue(encoded(bytes, piece) === bytes.toString("base64"), `pieces of ${piece}`);
    }
  });
});
