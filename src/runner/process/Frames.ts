import { Option, Result, Schema } from "effect";

import { EncodedValue } from "../../domain/EncodedValue.ts";
import { JSON_LIMITS, parseJson } from "../../domain/JsonLimits.ts";
import { Format } from "../RunnerProtocol.ts";

const HEADER = 12;
const META_LENGTH = 4;

/** The maximum size of the metadata in a frame from the runner. The runner's own limits are lower. */
const META_LIMIT = 1024 * 1024;

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

/** A failure of an app can be any JSON of 64 KiB. */
const META_LIMITS = { ...JSON_LIMITS, keys: 20_000, items: 40_000 };

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
