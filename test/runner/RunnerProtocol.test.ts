import { assert, describe, it } from "@effect/vitest";
import { Effect, Result, Schema } from "effect";

import {
  encode,
  type Frame,
  type FrameInvalid,
  FrameReader,
  FrameType,
  hasNoPendingOutput,
} from "../../src/runner/RunnerProtocol.ts";

const LIMIT = 4_000_000;

/** The most bytes of meta. */
const META = 1024 * 1024;

const metaWith = (text: string) => JSON.stringify({ value: "cloudpickle", text });

/** Meta of exactly this many bytes, which announces a value. */
const metaOf = (size: number) => metaWith("x".repeat(size - metaWith("").length));

/** A frame as the runner sends it. */
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

/** Only results of call 7 and values of its generator can come. */
const limitOf = (type: number, call: number) =>
  call === 7 && (type === FrameType.result || type === FrameType.chunk) ? LIMIT : undefined;

/** Reads the bytes in pieces of the given size. */
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

/** Why a frame was refused, if it was. */
const refusalOf = (frame: Result.Result<Frame, FrameInvalid> | undefined) =>
  frame !== undefined && Result.isFailure(frame) ? frame.failure : undefined;

const decoded = (frame: Frame | undefined) =>
  Buffer.from(frame?.value?.text() ?? "", "base64").toString();

describe("frames from the runner", () => {
  const chunk = fromRunner(
    FrameType.chunk,
    7,
    { name: "é", value: "cloudpickle" },
    Buffer.from("abcd"),
  );
  const result = fromRunner(FrameType.result, 7, { ok: true, value: null });

  it.each([1, 2, 3, 11, 12, 13, 16, 1000])(
    "come out as they went in, read %i bytes at a time",
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
    "carry large values whole, read %i bytes at a time",
    (size) => {
      const value = Buffer.alloc(3_000_001, "xyz0");
      const [frame] = framesOf(
        fromRunner(FrameType.result, 7, { value: "cloudpickle" }, value),
        size,
      );
      assert.strictEqual(frame?.value?.text(), value.toString("base64"));
    },
  );

  it("may be as large as both limits allow", () => {
    const value = Buffer.alloc(LIMIT, "x");
    const [frame] = framesOf(fromRunner(FrameType.result, 7, metaOf(META), value));
    assert.strictEqual(frame?.value?.text(), value.toString("base64"));
  });

  it.each([
    ["room for no meta", FrameType.result, 4],
    ["room for less than no meta", FrameType.result, 3],
    ["room for more than meta and value may have", FrameType.result, 4 + META + LIMIT + 1],
    ["a type that is not expected", FrameType.ready, 100],
  ])("are refused by their header alone when it has %s", (_, type, size) => {
    const reader = new FrameReader(limitOf);
    const [frame] = reader.read(header(Buffer.alloc(0), type, 7, size));
    assert.isDefined(refusalOf(frame));
  });

  it.each([
    ["is not expected any more", undefined],
    ["may be only as large as another now", 3],
  ])("are refused by their meta when their value %s", (_, limit) => {
    const limits = [4, limit];
    const reader = new FrameReader(() => limits.shift());
    const bytes = fromRunner(FrameType.result, 7, { value: "json" }, Buffer.from("1234"));
    const [frame] = reader.read(bytes);
    assert.isDefined(refusalOf(frame));
  });

  it.each([
    ["a type that is none", Buffer.from("print('this is not a frame')")],
    ["a type that only the worker sends", header(Buffer.alloc(0), FrameType.call)],
    ["the number of another call", fromRunner(FrameType.result, 8, { value: null })],
    ["no meta", header(Buffer.from("ab"), FrameType.result)],
    ["meta beyond its end", header(Buffer.from([200, 0, 0, 0, 1, 2, 3, 4]), FrameType.result)],
    ["meta of no length", header(Buffer.from([0, 0, 0, 0, 1, 2, 3, 4]), FrameType.result)],
    ["meta that is no JSON", fromRunner(FrameType.result, 7, "{]x")],
    ["meta that is nested deeply", fromRunner(FrameType.result, 7, "[".repeat(1e5))],
    [
      "more meta than there can be",
      fromRunner(FrameType.result, 7, metaOf(META + 1), Buffer.from("x")),
    ],
    ["a value of no format", fromRunner(FrameType.result, 7, { value: "csv" }, Buffer.from("a"))],
    ["a format without a value", fromRunner(FrameType.result, 7, { value: "json" })],
    ["the length of 3 GB", header(Buffer.alloc(0), FrameType.result, 7, 3_000_000_000)],
    [
      "a value above the limit",
      fromRunner(FrameType.result, 7, { value: "cloudpickle" }, Buffer.alloc(LIMIT + 1)),
    ],
  ])("are refused when they have %s, and nothing is read after that", (_, bytes) => {
    const reader = new FrameReader(limitOf);
    const [frame, ...others] = reader.read(Buffer.concat([bytes, result]));
    const error = refusalOf(frame);
    assert.include(error?.message, error?.reason);
    assert.isEmpty(others);
    assert.isEmpty(reader.read(result));
  });

  it.each([
    ["lists in each other", `{"a":${"[".repeat(20)}${"]".repeat(20)}}`],
    ["keys", `{${'"k":1,'.repeat(1500)}"k":1}`],
    ["strings", `{"notes":[${'"x",'.repeat(1500)}"x"]}`],
  ])("are refused when their meta has more %s than the runner's own", (_, meta) => {
    const [frame] = new FrameReader(limitOf).read(fromRunner(FrameType.result, 7, meta));
    assert.isTrue(frame !== undefined && Result.isFailure(frame));
  });

  it.effect.prop("of any bytes never throw", [Schema.Uint8Array], ([bytes]) =>
    Effect.sync(() => {
      assert.isArray(new FrameReader(limitOf).read(Buffer.from(bytes)));
    }),
  );
});

it("frames to the runner have their type, the number of the call and the lengths of their blobs", () => {
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
  // The job has closed the pipe's reader, so the runner does not know.
  [{ pending: -1 }, false],
  [{}, false],
  [null, false],
])("a result with %o has all its output read: %s", (meta, isRead) => {
  assert.strictEqual(hasNoPendingOutput(meta), isRead);
});
