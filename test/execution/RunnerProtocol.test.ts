import { assert, describe, it } from "@effect/vitest";
import { Effect, Result, Schema } from "effect";

import { encode, type Frame, FrameReader, FrameType } from "../../src/execution/RunnerProtocol.ts";

const bytesOf = (...frames: ReadonlyArray<ReadonlyArray<Uint8Array>>) =>
  Buffer.concat(frames.flat());

/** Reads the bytes in pieces of the given size. */
const framesOf = (bytes: Buffer, size = bytes.byteLength): ReadonlyArray<Frame> => {
  const reader = new FrameReader();
  const frames: Array<Frame> = [];
  for (let start = 0; start < bytes.byteLength; start += size) {
    for (const frame of reader.read(bytes.subarray(start, start + size))) {
      frames.push(Result.getOrThrow(frame));
    }
  }
  return frames;
};

const header = (size: number, type: number, body: Buffer) => {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(size, 0);
  head.writeUInt32LE(type, 4);
  return Buffer.concat([head, body]);
};
const meta = (json: string, blobs = "") => {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(Buffer.byteLength(json), 0);
  return Buffer.concat([size, Buffer.from(json), Buffer.from(blobs)]);
};

describe("frames", () => {
  const call = encode(FrameType.call, 7, { name: "é" }, [Buffer.from("abc"), Buffer.alloc(0)]);
  const bye = encode(FrameType.bye, 8, {}, []);

  it.each([1, 2, 11, 12, 13, 16, 1000])(
    "come out as they went in, read %i bytes at a time",
    (size) => {
      const [first, second, ...others] = framesOf(bytesOf(call, bye), size);
      assert.deepInclude(first, { type: FrameType.call, call: 7 });
      assert.deepStrictEqual(first?.meta, { name: "é", blobs: [3, 0] });
      assert.deepStrictEqual(first?.blobs.map(String), ["abc", ""]);
      assert.deepInclude(second, { type: FrameType.bye, call: 8 });
      assert.isEmpty(others);
    },
  );

  it("carry large blobs whole", () => {
    const blob = Buffer.alloc(3_000_000, "xyz");
    const [frame] = framesOf(bytesOf(encode(FrameType.result, 1, {}, [blob])), 65_536);
    assert.isTrue(frame?.blobs[0]?.equals(blob));
  });

  it.each([
    ["a type that is none", Buffer.from("print('this is not a frame')")],
    ["no meta", header(2, FrameType.result, Buffer.from("ab"))],
    ["meta beyond its end", header(8, FrameType.result, Buffer.from([200, 0, 0, 0, 1, 2, 3, 4]))],
    ["meta that is no JSON", header(7, FrameType.result, meta("{]x"))],
    ["blobs that are too short", header(20, FrameType.result, meta('{"blobs": [3]}', "ab"))],
    ["a blob of negative length", header(21, FrameType.result, meta('{"blobs": [-2]}', "ab"))],
  ])("are refused when they have %s", (_, bytes) => {
    const [frame] = new FrameReader().read(bytes);
    assert.isTrue(frame !== undefined && Result.isFailure(frame));
  });

  it.effect.prop("of any bytes never throw", [Schema.Uint8Array], ([bytes]) =>
    Effect.sync(() => {
      assert.isArray(new FrameReader().read(Buffer.from(bytes)));
    }),
  );
});
