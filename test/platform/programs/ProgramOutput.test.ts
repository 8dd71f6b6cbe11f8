import { assert, describe, it } from "@effect/vitest";

import { BoundedOutput } from "../../../src/platform/programs/BoundedOutput.ts";
import {
  FAILURE_LIMIT,
  failureText,
  fullText,
} from "../../../src/platform/programs/ProgramOutput.ts";

const outputOf = (text: string, limit: number) => {
  const output = new BoundedOutput(limit);
  output.write(Buffer.from(text));
  return output;
};

describe("fullText", () => {
  it("returns an output within the limit unchanged", () => {
    assert.strictEqual(fullText(outputOf("0123456789", 10)), "0123456789");
  });

  it("notes how many bytes of a longer output are left out", () => {
    assert.strictEqual(
      fullText(outputOf("0123456789", 4)),
      "0\n[worker-tetra] 6 bytes of output left out here\n789",
    );
  });
});

describe("failureText", () => {
  it("returns a short output unchanged", () => {
    const text = "no space ".repeat(FAILURE_LIMIT / 9);
    assert.strictEqual(failureText(outputOf(text, 2 * FAILURE_LIMIT)), text);
  });

  it.each([2 * FAILURE_LIMIT, 8 * FAILURE_LIMIT])(
    "returns the beginning and the end of a long output, cut at spaces, if %d bytes of it were kept",
    (limit) => {
      const text = failureText(outputOf("some words ".repeat(FAILURE_LIMIT), limit));
      assert.match(
        text,
        /^(some words )+some\n\[worker-tetra\] \d+ bytes of output left out here\n( some words| words some)+/,
      );
      assert.isBelow(text.length, FAILURE_LIMIT + 100);
    },
  );

  it("leaves out a word at the cut that is longer than any URL", () => {
    const text = failureText(outputOf("x".repeat(8 * FAILURE_LIMIT), 8 * FAILURE_LIMIT));
    assert.isBelow(text.length, FAILURE_LIMIT - 2 * 8000);
  });
});
