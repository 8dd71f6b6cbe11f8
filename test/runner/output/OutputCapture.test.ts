import { assert, describe, it } from "@effect/vitest";
import { Effect, Schema } from "effect";

import { OutputCapture } from "../../../src/runner/output/OutputCapture.ts";

const captured = (limit: number, ...pieces: ReadonlyArray<string | Uint8Array>) => {
  const capture = new OutputCapture(limit);
  for (const piece of pieces) capture.write(typeof piece === "string" ? Buffer.from(piece) : piece);
  return capture.text();
};

describe("OutputCapture", () => {
  it("keeps all output up to the limit", () => {
    assert.strictEqual(captured(16, "0123456789", "abcdef"), "0123456789abcdef");
  });

  it("copies the bytes, since pipes reuse their buffers", () => {
    const capture = new OutputCapture(16);
    const buffer = Buffer.from("first");
    capture.write(buffer);
    buffer.write("XXXXX");
    assert.strictEqual(capture.text(), "first");
  });

  it("keeps a quarter of the limit from the beginning and the rest from the end, with a note", () => {
    const text = captured(16, "abcdefgh", "i".repeat(1000), "0123456789AB");
    assert.match(
      text,
      /^abcd\n\[worker-tetra\] 1004 bytes of output left out here.*16 bytes.*\n0123456789AB$/,
    );
  });

  it("does not cut characters", () => {
    const text = captured(16, "abcé€".repeat(20));
    assert.notInclude(text, "\uFFFD");
    const tail = captured(16, "😀".repeat(20));
    assert.notInclude(tail, "\uFFFD");
  });

  it("decodes characters that arrive in two chunks, and marks invalid UTF-8", () => {
    const euro = Buffer.from("€");
    assert.strictEqual(captured(100, euro.subarray(0, 1), euro.subarray(1)), "€");
    assert.strictEqual(captured(100, Uint8Array.of(0x61, 0xff, 0x62)), "a\uFFFDb");
  });

  it.effect.prop(
    "keeps the same output for any split into chunks",
    [Schema.Array(Schema.String), Schema.String],
    ([pieces, last]) =>
      Effect.sync(() => {
        const all = [...pieces, last];
        assert.strictEqual(
          captured(32, ...all),
          captured(
            32,
            Buffer.from(
              all.map((piece) => Buffer.from(piece).toString("latin1")).join(""),
              "latin1",
            ),
          ),
        );
      }),
  );
});
