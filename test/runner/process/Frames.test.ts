import { assert, describe, it } from "@effect/vitest";
import { Effect, Result, Schema } from "effect";

import { FrameType, hasNoPendingOutput } from "../../../src/runner/RunnerProtocol.ts";
import {
  encode,
  type Frame,
  type FrameInvalid,
  FrameReader,
} from "../../../src/runner/process/Frames.ts";

const LIMIT = 4_000_000;

/** The limit for the metadata, in bytes. */
const META = 1024 * 1024;

const metaWith = (text: string) => JSON.stringify({ value: "cloudpickle", text });

/** Metadata of this size for a frame with a value. */
const metaOf = (size: number) => metaWith("x".repeat(size - metaWith("").length));

/** A frame from the runner. */
const fromRunner = (type: number, call: number, json: object | string, value = Buffer.alloc(0)) => {
  const meta = Buffer.from(typeof json === "string" ? json : JSON.stringify(json));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(meta.byteLength);
  return header(Buffer.concat([length, meta, value]), type, call);
};

const header = (body: Buffer, type: number, call = 7, size = body.byteLength) => {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(size, 0);
  head.writeUInt32LE(type, 4);
  head.writeUInt32LE(call, 8);
  return Buffer.concat([head, body]);
};

/** Expects only results and chunks of call 7. */
const limitOf = (type: number, call: number) =>
  call === 7 && (type === FrameType.result || type === FrameType.chunk) ? LIMIT : undefined;

/** Decodes the bytes in chunks of the given size. */
const framesOf = (bytes: Buffer, size = bytes.byteLength): ReadonlyArray<Frame> => {
  const reader = new FrameReader(limitOf);
  const frames: Array<Frame> = [];
  for (let start = 0; start < bytes.byteLength; start += size) {
    for (const frame of reader.read(bytes.subarray(start, start + size))) {
      frames.push(Result.getOrThrow(frame));
    }
  }
  return frames;
};

/** Why a frame was rejected, if it was. */
const errorOf = (frame: Result.Result<Frame, FrameInvalid> | undefined) =>
  frame !== undefined && Result.isFailure(frame) ? frame.failure : undefined;

const decoded = (frame: Frame | undefined) =>
  Buffer.from(frame?.value?.text() ?? "", "base64").toString();

describe("FrameReader", () => {
  const chunk = fromRunner(
    FrameType.chunk,
    7,
    { name: "é", value: "cloudpickle" },
    Buffer.from("abcd"),
  );
  const result = fromRunner(FrameType.result, 7, { ok: true, value: null });

  it.each([1, 2, 3, 11, 12, 13, 16, 1000])(
    "decodes frames that arrive %i bytes at a time",
    (size) => {
      const [first, second, ...others] = framesOf(Buffer.concat([chunk, result]), size);
      assert.deepInclude(first, { type: FrameType.chunk, call: 7 });
      assert.deepStrictEqual(first?.meta, { name: "é", value: "cloudpickle" });
      assert.strictEqual(decoded(first), "abcd");
      assert.deepInclude(second, { type: FrameType.result, call: 7, value: undefined });
      assert.isEmpty(others);
    },
  );

  it.each([65_536, 65_537, 999_999, 4_000_000])(
    "decodes large values that arrive %i bytes at a time",
    (size) => {
      const value = Buffer.alloc(3_000_001, "xyz0");
      const [frame] = framesOf(
        fromRunner(FrameType.result, 7, { value: "cloudpickle" }, value),
        size,
      );
      assert.strictEqual(frame?.value?.text(), value.toString("base64"));
    },
  );

  it("accepts a frame whose metadata and value have the maximum sizes", () => {
    const value = Buffer.alloc(LIMIT, "x");
    const [frame] = framesOf(fromRunner(FrameType.result, 7, metaOf(META), value));
    assert.strictEqual(frame?.value?.text(), value.toString("base64"));
  });

  it.each([
    ["no metadata", FrameType.result, 4],
    ["a length below the minimum", FrameType.result, 3],
    ["a length above the limits of metadata and value", FrameType.result, 4 + META + LIMIT + 1],
    ["an unexpected type", FrameType.ready, 100],
  ])("rejects a frame by its header if it has %s", (_, type, size) => {
    const reader = new FrameReader(limitOf);
    const [frame] = reader.read(header(Buffer.alloc(0), type, 7, size));
    assert.isDefined(errorOf(frame));
  });

  it.each([
    ["is not expected any more", undefined],
    ["exceeds a lower limit", 3],
  ])("rejects a frame by its metadata if the value meanwhile %s", (_, limit) => {
    const limits = [4, limit];
    const reader = new FrameReader(() => limits.shift());
    const bytes = fromRunner(FrameType.result, 7, { value: "json" }, Buffer.from("1234"));
    const [frame] = reader.read(bytes);
    assert.isDefined(errorOf(frame));
  });

  it.each([
    ["an unknown type", Buffer.from("print('this is not a frame')")],
    ["a type that only the worker sends", header(Buffer.alloc(0), FrameType.call)],
    ["the number of another call", fromRunner(FrameType.result, 8, { value: null })],
    ["no metadata", header(Buffer.from("ab"), FrameType.result)],
    ["metadata beyond its end", header(Buffer.from([200, 0, 0, 0, 1, 2, 3, 4]), FrameType.result)],
    ["empty metadata", header(Buffer.from([0, 0, 0, 0, 1, 2, 3, 4]), FrameType.result)],
    ["metadata that is not JSON", fromRunner(FrameType.result, 7, "{]x")],
    ["deeply nested metadata", fromRunner(FrameType.result, 7, "[".repeat(1e5))],
    [
      "metadata above the limit",
      fromRunner(FrameType.result, 7, metaOf(META + 1), Buffer.from("x")),
    ],
    [
      "a value of an unknown format",
      fromRunner(FrameType.result, 7, { value: "csv" }, Buffer.from("a")),
    ],
    ["a format without a value", fromRunner(FrameType.result, 7, { value: "json" })],
    ["a length of 3 GB", header(Buffer.alloc(0), FrameType.result, 7, 3_000_000_000)],
    [
      "a value above the limit",
      fromRunner(FrameType.result, 7, { value: "cloudpickle" }, Buffer.alloc(LIMIT + 1)),
    ],
  ])("rejects a frame with %s, and reads nothing after it", (_, bytes) => {
    const reader = new FrameReader(limitOf);
    const [frame, ...others] = reader.read(Buffer.concat([bytes, result]));
    const error = errorOf(frame);
    assert.include(error?.message, error?.reason);
    assert.isEmpty(others);
    assert.isEmpty(reader.read(result));
  });

  it.each([
    ["nested lists", `{"a":${"[".repeat(200)}${"]".repeat(200)}}`],
    ["keys", `{${'"k":1,'.repeat(20_000)}"k":1}`],
    ["strings", `{"notes":[${'"x",'.repeat(40_000)}"x"]}`],
  ])("rejects metadata with too many %s", (_, meta) => {
    const [frame] = new FrameReader(limitOf).read(fromRunner(FrameType.result, 7, meta));
    assert.isTrue(frame !== undefined && Result.isFailure(frame));
  });

  it.effect.prop("does not throw for any bytes", [Schema.Uint8Array], ([bytes]) =>
    Effect.sync(() => {
      assert.isArray(new FrameReader(limitOf).read(Buffer.from(bytes)));
    }),
  );
});

it("encode writes the type, the number of the call and the lengths of the blobs", () => {
  const frame = Buffer.concat(
    encode(FrameType.call, 7, { name: "é" }, [Buffer.from("abc"), Buffer.alloc(0)]),
  );
  const size = frame.readUInt32LE(12);
  assert.strictEqual(frame.readUInt32LE(0), frame.byteLength - 12);
  assert.strictEqual(frame.readUInt32LE(4), FrameType.call);
  assert.strictEqual(frame.readUInt32LE(8), 7);
  assert.deepStrictEqual(JSON.parse(frame.toString("utf8", 16, 16 + size)), {
    name: "é",
    blobs: [3, 0],
  });
  assert.strictEqual(frame.toString("utf8", 16 + size), "abc");
});

it.each([
  [{ pending: 0 }, true],
  [{ pending: 1 }, false],
  // The runner does not know the size, since the job closed the pipe's reader.
  [{ pending: -1 }, false],
  [{}, false],
  [null, false],
])("hasNoPendingOutput of a result with %o is %s", (meta, expected) => {
  assert.strictEqual(hasNoPendingOutput(meta), expected);
});
