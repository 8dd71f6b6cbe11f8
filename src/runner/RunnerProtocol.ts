import { Option, Predicate, Result, Schema } from "effect";

import { EncodedValue } from "../domain/EncodedValue.ts";
import { InstanceInfo } from "../domain/FunctionResponse.ts";
import { JSON_LIMITS, parseJson } from "../domain/JsonLimits.ts";

/**
 * The frames between this process and the Python runner, on a unix socket.
 *
 * A frame is a header of 12 bytes, little endian (length of the body u32, type u8, 3 bytes of padding,
 * number of the call u32), then the body: length of the meta u32, the meta as JSON, and blobs back to back.
 * Arguments and results are blobs, so that pickles are sent raw. Frames to the runner list the lengths of their blobs
 * in `blobs`; those from it have at most one, the value, whose format the meta names in `value`.
 *
 * The other side of this contract is src/python/tetra_runner/messages.py. The golden messages in test/runner/golden
 * have to fit both.
 */
export const FrameType = { ready: 1, call: 2, chunk: 3, result: 4, bye: 5 } as const;

const HEADER = 12;
const META_LENGTH = 4;

/** The most bytes of meta in a frame from the runner; the runner's own limits are lower. */
const META_LIMIT = 1024 * 1024;

const Format = Schema.Literals(["cloudpickle", "json"]);

/** The meta of a frame from the runner, beside what its type adds: the format of the value, if there is one. */
const ValueMeta = Schema.Struct({ value: Schema.NullOr(Format) });

/** What the runner reports about itself once it can take calls. */
export const Ready = Schema.Struct({
  pid: Schema.Int,
  /** Version of Python, such as `3.12.1`. */
  python: Schema.String,
  /** `sys.prefix`: the virtual environment that it runs from. */
  prefix: Schema.String,
  executable: Schema.String,
  cloudpickle: Schema.String,
});
export type Ready = typeof Ready.Type;

/** The whole meta of a `ready` frame. */
export const ReadyMeta = Schema.Struct({ ...Ready.fields, ...ValueMeta.fields });

/** The whole meta of a `chunk` frame: an item of a generator, without a value if it is above its limit. */
export const ChunkMeta = ValueMeta;

/** Why a call has no value. */
export const CallError = Schema.Struct({
  kind: Schema.Literals([
    "exception",
    "exit",
    "memory",
    "cancelled",
    "request",
    "arguments",
    "result",
    "size",
  ]),
  type: Schema.String,
  message: Schema.String,
  traceback: Schema.String,
});
export type CallError = typeof CallError.Type;

/** The id of an instance, which is kept after the call. Those of clients and those that the runner makes are shorter. */
const InstanceId = Schema.String.pipe(Schema.check(Schema.isMaxLength(512)));

/** How a call ended. */
export const CallResult = Schema.Struct({
  ok: Schema.Boolean,
  error: Schema.NullOr(CallError),
  instance: Schema.NullOr(Schema.Struct({ id: InstanceId, ...InstanceInfo.fields })),
  /** How many instances there are in the process. */
  instances: Schema.Int,
  /** Whether the instance that the call named is one of them. */
  lives: Schema.Boolean,
  /** What the user should know, a sentence each. */
  notes: Schema.Array(Schema.String),
  /** Why this process must not run another call, such as a broken CUDA context. */
  poisoned: Schema.NullOr(Schema.String),
  /** Threads that the call left running. */
  threads: Schema.Array(Schema.String),
  /** The output continues in a new pipe, because leftover processes may still hold the old one. */
  output: Schema.Boolean,
});
export type CallResult = typeof CallResult.Type;

/** The whole meta of a `result` frame. */
export const ResultMeta = Schema.Struct({
  ...CallResult.fields,
  ...ValueMeta.fields,
  /** Bytes of output that are still in the pipe; -1 if the runner does not know. */
  pending: Schema.Int,
});

/** Whether nothing of a call's output is left in the pipe, so that it need not be read again. */
export const hasNoPendingOutput = (meta: unknown): boolean =>
  Predicate.hasProperty(meta, "pending") && meta.pending === 0;

/** What a call asks for; the blobs are arguments, keyword arguments and the constructor's, in this order. */
export const CallMeta = Schema.Struct({
  kind: Schema.Literals(["function", "class"]),
  name: Schema.String,
  /** Source text that defines `name`. */
  code: Schema.String,
  format: Format,
  args: Schema.Int,
  kwargs: Schema.Array(Schema.String),
  constructorArgs: Schema.Int,
  constructorKwargs: Schema.Array(Schema.String),
  method: Schema.String,
  instanceId: Schema.NullOr(Schema.String),
  /** Build the instance anew, whether or not there is one. */
  createNewInstance: Schema.Boolean,
  /** Local modules: relative path to source. */
  modules: Schema.Record(Schema.String, Schema.String),
  /** The most bytes of the result as Python encodes it. */
  limit: Schema.Int,
  /** The same for each item of a generator that is sent as a chunk; absent if items are not streamed. */
  chunkLimit: Schema.optionalKey(Schema.Int),
});
export type CallMeta = typeof CallMeta.Type;

/** The whole meta of a `call` frame. */
export const CallFrameMeta = Schema.Struct({
  ...CallMeta.fields,
  /** Packages were installed since the last call. */
  refresh: Schema.Boolean,
  blobs: Schema.Array(Schema.Int),
});

/** The whole meta of a `bye` frame. */
export const ByeMeta = Schema.Struct({ blobs: CallFrameMeta.fields.blobs });

/** A frame from the runner. */
export interface Frame {
  readonly type: number;
  readonly call: number;
  readonly meta: unknown;
  readonly value: EncodedValue | undefined;
}

/** The parts of a frame to write one after the other; blobs are not copied. */
export const encode = (
  type: number,
  call: number,
  meta: object,
  blobs: ReadonlyArray<Uint8Array>,
): ReadonlyArray<Uint8Array> => {
  const json = JSON.stringify({ ...meta, blobs: blobs.map((blob) => blob.byteLength) });
  const size = Buffer.byteLength(json);
  const head = Buffer.allocUnsafe(HEADER + 4 + size);
  const body = blobs.reduce((sum, blob) => sum + blob.byteLength, 4 + size);
  head.writeUInt32LE(body, 0);
  head.writeUInt32LE(type, 4);
  head.writeUInt32LE(call, 8);
  head.writeUInt32LE(size, HEADER);
  head.write(json, HEADER + 4);
  return [head, ...blobs];
};

/** The bytes on the socket are not frames: user code wrote there, or the runner is broken. */
export class FrameInvalid extends Schema.TaggedError<FrameInvalid>()("FrameInvalid", {
  reason: Schema.String,
}) {
  override get message(): string {
    return `The Python runner's control channel carried something else than frames (${this.reason}).`;
  }
}

const valueOf = Schema.decodeUnknownOption(Schema.Struct({ value: Format }));

const META_LIMITS = { ...JSON_LIMITS, depth: 10, keys: 1000, items: 1000 };

/**
 * Splits the bytes from a runner into frames. Any code in the process can write there, so nothing is trusted: a frame
 * is refused by its header if it is unexpected or too large. A value is encoded as it arrives.
 */
export class FrameReader {
  private readonly limitOf: (type: number, call: number) => number | undefined;
  /** The part that is read now, its length in bytes, and the bytes so far. */
  private part: "header" | "length" | "meta" | "value" = "header";
  private length = HEADER;
  private pending: Buffer = Buffer.alloc(0);
  private filled = 0;
  private type = 0;
  private call = 0;
  private bodyLength = 0;
  private meta: unknown;
  private value: EncodedValue | undefined;
  private isBroken = false;

  /** @param limitOf the most bytes that the value of such a frame may have now; undefined if none is expected */
  constructor(limitOf: (type: number, call: number) => number | undefined) {
    this.limitOf = limitOf;
  }

  /** The frames that these bytes complete, up to the first that is invalid; nothing is read after that. */
  read(bytes: Buffer): ReadonlyArray<Result.Result<Frame, FrameInvalid>> {
    const frames: Array<Result.Result<Frame, FrameInvalid>> = [];
    let rest = bytes;
    while (rest.byteLength > 0 && !this.isBroken) {
      const piece = rest.subarray(0, this.length - this.filled);
      rest = rest.subarray(piece.byteLength);
      const fault = this.part === "value" ? this.readValue(piece) : this.readPart(piece);
      if (fault !== undefined) {
        this.isBroken = true;
        frames.push(Result.fail(new FrameInvalid({ reason: fault })));
      } else if (this.length === 0) {
        const { type, call, meta, value } = this;
        frames.push(Result.succeed({ type, call, meta, value }));
        this.value = undefined;
        this.expect("header", HEADER);
      }
    }
    return frames;
  }

  /** A length of 0 means that the frame is complete. */
  private expect(part: FrameReader["part"], length: number): void {
    this.part = part;
    this.length = length;
    this.filled = 0;
  }

  private readValue(bytes: Buffer): string | undefined {
    this.value?.write(bytes);
    this.filled += bytes.byteLength;
    if (this.filled === this.length) this.expect("value", 0);
    return undefined;
  }

  /** Reads a part of a frame other than its value; returns why the part is invalid, if it is. */
  private readPart(bytes: Buffer): string | undefined {
    if (this.filled === 0) this.pending = Buffer.allocUnsafe(this.length);
    this.filled += bytes.copy(this.pending, this.filled);
    if (this.filled < this.length) return undefined;
    if (this.part === "header") return this.readHeader(this.pending);
    return this.part === "length" ? this.readLength(this.pending) : this.readMeta(this.pending);
  }

  private readHeader(header: Buffer): string | undefined {
    this.bodyLength = header.readUInt32LE(0);
    this.type = header.readUInt8(4);
    this.call = header.readUInt32LE(8);
    const limit = this.limitOf(this.type, this.call);
    if (limit === undefined) return `an unexpected frame, of type ${this.type}`;
    if (this.bodyLength <= META_LENGTH) return "a body without meta";
    if (this.bodyLength > META_LENGTH + META_LIMIT + limit) {
      return `a frame of ${this.bodyLength} bytes, which is too large`;
    }
    this.expect("length", META_LENGTH);
    return undefined;
  }

  private readLength(bytes: Buffer): string | undefined {
    const length = bytes.readUInt32LE(0);
    if (META_LENGTH + length > this.bodyLength) return "meta beyond the end of its frame";
    if (length > META_LIMIT) return `meta of ${length} bytes, which is too large`;
    if (length === 0) return "meta that is not JSON";
    this.expect("meta", length);
    return undefined;
  }

  private readMeta(bytes: Buffer): string | undefined {
    const parsed = parseJson(bytes, META_LIMITS);
    if (Result.isFailure(parsed)) return "meta that is not JSON";
    this.meta = parsed.success;
    const size = this.bodyLength - META_LENGTH - bytes.byteLength;
    const limit = this.limitOf(this.type, this.call);
    if (limit === undefined || size > limit) return `a value of ${size} bytes, which is too large`;
    const format = valueOf(this.meta);
    if (Option.isSome(format) !== size > 0) return "a value that its meta does not announce";
    if (Option.isSome(format)) this.value = new EncodedValue(format.value.value, size);
    this.expect("value", size);
    return undefined;
  }
}
