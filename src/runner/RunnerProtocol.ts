import { Option, Predicate, Result, Schema } from "effect";

import { EncodedValue } from "../domain/EncodedValue.ts";
import { InstanceInfo } from "../domain/FunctionResponse.ts";
import { JSON_LIMITS, parseJson } from "../domain/JsonLimits.ts";

/**
 * The frames between this process and the Python runner, on a unix socket.
 *
 * A frame is a little-endian header of 12 bytes (length of the body u32, type u8, 3 bytes of padding, number of the
 * call u32), followed by the body: length of the metadata u32, the metadata as JSON, and the concatenated blobs.
 * Arguments and results are blobs, so that pickles are sent without an encoding. Frames to the runner list the lengths
 * of their blobs in `blobs`; frames from the runner have at most one blob, the value, whose format is `value`.
 *
 * The Python side of this contract is src/python/tetra_runner/messages.py. The tests of both sides read the golden
 * messages in test/runner/golden.
 */
export const FrameType = { ready: 1, call: 2, chunk: 3, result: 4, bye: 5 } as const;

const HEADER = 12;
const META_LENGTH = 4;

/** The maximum size of the metadata in a frame from the runner. The runner's own limits are lower. */
const META_LIMIT = 1024 * 1024;

/** The argument that the runner is started with, as JSON. */
export const RunnerConfig = Schema.Struct({
  /** A private folder for pipes and sources. */
  dir: Schema.String,
  /** The current directory of user code. */
  cwd: Schema.String,
  /** The process id of the worker. */
  parent: Schema.Int,
  maxInstances: Schema.Int,
  /** The idle timeout of instances, in seconds; 0 for none. */
  instanceIdle: Schema.Finite,
});
export type RunnerConfig = typeof RunnerConfig.Type;

const Format = Schema.Literals(["cloudpickle", "json"]);

/** The metadata of every frame from the runner: the format of the value, or null without a value. */
const ValueMeta = Schema.Struct({ value: Schema.NullOr(Format) });

/** What the runner reports about itself when it is ready for calls. */
export const Ready = Schema.Struct({
  pid: Schema.Int,
  /** The version of Python, such as `3.12.1`. */
  python: Schema.String,
  /** `sys.prefix`: its venv. */
  prefix: Schema.String,
  executable: Schema.String,
  cloudpickle: Schema.String,
});
export type Ready = typeof Ready.Type;

/** The complete metadata of a `ready` frame. */
export const ReadyMeta = Schema.Struct({ ...Ready.fields, ...ValueMeta.fields });

/** The complete metadata of a `chunk` frame: an item of a generator, without a value if it exceeds its limit. */
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

/** The id of an instance. The ids that clients and the runner generate are shorter. */
const InstanceId = Schema.String.pipe(Schema.check(Schema.isMaxLength(512)));

/** How a call ended. */
export const CallResult = Schema.Struct({
  ok: Schema.Boolean,
  error: Schema.NullOr(CallError),
  instance: Schema.NullOr(Schema.Struct({ id: InstanceId, ...InstanceInfo.fields })),
  /** The number of instances in the process. */
  instances: Schema.Int,
  /** Whether the instance of the call is one of them. */
  lives: Schema.Boolean,
  /** Sentences for the user. */
  notes: Schema.Array(Schema.String),
  /** Why this process can't run another call, such as a broken CUDA context. */
  poisoned: Schema.NullOr(Schema.String),
  /** The names of threads that are still running. */
  threads: Schema.Array(Schema.String),
  /** Whether the output continues in a new pipe, because leftover processes may still have the old one open. */
  output: Schema.Boolean,
});
export type CallResult = typeof CallResult.Type;

/** The complete metadata of a `result` frame. */
export const ResultMeta = Schema.Struct({
  ...CallResult.fields,
  ...ValueMeta.fields,
  /** Bytes of output that are still in the pipe; -1 if unknown. */
  pending: Schema.Int,
});

/** Whether the pipe has no more output of a call, so that it need not be drained. */
export const hasNoPendingOutput = (meta: unknown): boolean =>
  Predicate.hasProperty(meta, "pending") && meta.pending === 0;

/** A call. Its blobs are the arguments, the keyword arguments, and those of the constructor, in this order. */
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
  /** Create the instance again if it exists. */
  createNewInstance: Schema.Boolean,
  /** Local modules by their relative path. */
  modules: Schema.Record(Schema.String, Schema.String),
  /** The maximum size of the encoded result, in bytes. */
  limit: Schema.Int,
  /** The maximum size of each item of a generator, in bytes; absent if items are not streamed. */
  chunkLimit: Schema.optionalKey(Schema.Int),
});
export type CallMeta = typeof CallMeta.Type;

/** The complete metadata of a `call` frame. */
export const CallFrameMeta = Schema.Struct({
  ...CallMeta.fields,
  /** Whether packages were installed since the last call. */
  refresh: Schema.Boolean,
  blobs: Schema.Array(Schema.Int),
});

/** The complete metadata of a `bye` frame. */
export const ByeMeta = Schema.Struct({ blobs: CallFrameMeta.fields.blobs });

/** A frame from the runner. */
export interface Frame {
  readonly type: number;
  readonly call: number;
  readonly meta: unknown;
  readonly value: EncodedValue | undefined;
}

/** Encodes a frame as parts to write one after the other; blobs are not copied. */
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

/** The bytes on the socket are not a valid frame: user code wrote them, or the runner has a bug. */
export class FrameInvalid extends Schema.TaggedError<FrameInvalid>()("FrameInvalid", {
  reason: Schema.String,
}) {
  override get message(): string {
    return `Invalid data on the control channel of the Python process: ${this.reason}.`;
  }
}

const valueOf = Schema.decodeUnknownOption(Schema.Struct({ value: Format }));

const META_LIMITS = { ...JSON_LIMITS, depth: 10, keys: 1000, items: 1000 };

/**
 * Parses the bytes from a runner into frames. Any code in the process can write to the socket, so nothing is trusted: an
 * unexpected or too large frame is rejected by its header. A value is encoded while it arrives.
 */
export class FrameReader {
  private readonly limitOf: (type: number, call: number) => number | undefined;
  /** The part that is being read, its length in bytes, and the bytes read so far. */
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

  /** @param limitOf the maximum size of the value in such a frame, in bytes; undefined if no such frame is expected */
  constructor(limitOf: (type: number, call: number) => number | undefined) {
    this.limitOf = limitOf;
  }

  /** Returns the frames that these bytes complete. Nothing is read after the first invalid frame. */
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

  /** Starts the next part. A length of 0 means that the frame is complete. */
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

  /** Reads a part other than the value. Returns why the part is invalid, or undefined. */
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
    if (limit === undefined) return `unexpected frame of type ${this.type}`;
    if (this.bodyLength <= META_LENGTH) return "frame without metadata";
    if (this.bodyLength > META_LENGTH + META_LIMIT + limit) {
      return `frame of ${this.bodyLength} bytes is too large`;
    }
    this.expect("length", META_LENGTH);
    return undefined;
  }

  private readLength(bytes: Buffer): string | undefined {
    const length = bytes.readUInt32LE(0);
    if (META_LENGTH + length > this.bodyLength) return "metadata exceeds its frame";
    if (length > META_LIMIT) return `metadata of ${length} bytes is too large`;
    if (length === 0) return "metadata is not valid JSON";
    this.expect("meta", length);
    return undefined;
  }

  private readMeta(bytes: Buffer): string | undefined {
    const parsed = parseJson(bytes, META_LIMITS);
    if (Result.isFailure(parsed)) return "metadata is not valid JSON";
    this.meta = parsed.success;
    const size = this.bodyLength - META_LENGTH - bytes.byteLength;
    const limit = this.limitOf(this.type, this.call);
    if (limit === undefined || size > limit) return `value of ${size} bytes is too large`;
    const format = valueOf(this.meta);
    if (Option.isSome(format) !== size > 0) return "value does not match the metadata";
    if (Option.isSome(format)) this.value = new EncodedValue(format.value.value, size);
    this.expect("value", size);
    return undefined;
  }
}
