import type { SerializationFormat } from "./FunctionRequest.ts";
import { type JsonInvalid, type JsonTooComplex, RESULT_LIMITS } from "./JsonLimits.ts";
import { JsonScanner } from "./JsonScanner.ts";

/**
 * The spare bytes before and after a large value. The document that contains the value is written there, so that the
 * value is in memory only once. Unused pages take no memory.
 */
const SPARE_BEFORE = 64;
const SPARE_AFTER = 64 * 1024;

/** Smaller values are copied into their documents. */
const LARGE_BYTES = 256 * 1024;

/** Base64 encodes groups of three bytes as four characters. */
const GROUP = 3;
const GROUP_ENCODED = 4;

const CHARACTERS = Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
const SIX_BITS = 0x3f;

/**
 * Encodes whole groups into `target`, and returns the position after them. `Buffer.toString` would create a string as
 * large as the value.
 */
const encodeGroups = (bytes: Uint8Array, target: Uint8Array, start: number): number => {
  let end = start;
  for (let at = 0; at < bytes.length; at += GROUP) {
    const group = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    target[end] = CHARACTERS[group >> 18] ?? 0;
    target[end + 1] = CHARACTERS[(group >> 12) & SIX_BITS] ?? 0;
    target[end + 2] = CHARACTERS[(group >> 6) & SIX_BITS] ?? 0;
    target[end + 3] = CHARACTERS[group & SIX_BITS] ?? 0;
    end += GROUP_ENCODED;
  }
  return end;
};

/** The length of the base64 of so many bytes. */
const base64Length = (bytes: number): number => Math.ceil(bytes / GROUP) * GROUP_ENCODED;

/** The maximum number of bytes whose base64 fits into so many characters. */
export const base64Capacity = (characters: number): number =>
  Math.max(0, Math.floor(characters / GROUP_ENCODED) * GROUP);

/**
 * A value from Python, encoded for a document: base64 of a pickle, or the JSON text that Python wrote. Each part is
 * encoded when it arrives.
 */
export class EncodedValue {
  readonly format: SerializationFormat;
  /** The number of bytes from Python. */
  readonly size: number;
  /** The error in the JSON text, if any. */
  problem: JsonInvalid | JsonTooComplex | undefined;
  private buffer: Buffer;
  private readonly start: number;
  private end: number;
  private missing: number;
  /** The bytes of an incomplete group. */
  private carry: Buffer = Buffer.alloc(0);
  private readonly scanner: JsonScanner | undefined;
  private isUsed = false;

  constructor(format: SerializationFormat, size: number) {
    this.format = format;
    this.size = size;
    this.missing = size;
    this.scanner = format === "json" ? new JsonScanner(RESULT_LIMITS) : undefined;
    const length = format === "json" ? size : base64Length(size);
    const isLarge = length >= LARGE_BYTES;
    this.start = isLarge ? SPARE_BEFORE : 0;
    this.end = this.start;
    this.buffer = Buffer.allocUnsafe(isLarge ? SPARE_BEFORE + length + SPARE_AFTER : length);
  }

  get isComplete(): boolean {
    return this.missing === 0;
  }

  /** Adds the next bytes, at most as many as are missing. */
  write(bytes: Buffer): void {
    this.missing -= bytes.byteLength;
    if (this.scanner === undefined) this.encode(bytes);
    else {
      this.end += bytes.copy(this.buffer, this.end);
      this.scanner.write(bytes);
    }
    if (this.missing === 0) this.problem = this.scanner?.end();
  }

  private encode(bytes: Buffer): void {
    let rest = bytes;
    if (this.carry.byteLength > 0) {
      const needed = GROUP - this.carry.byteLength;
      this.carry = Buffer.concat([this.carry, rest.subarray(0, needed)]);
      rest = rest.subarray(needed);
      if (this.carry.byteLength < GROUP && this.missing > 0) return;
      this.append(this.carry);
    }
    const cut = this.missing === 0 ? rest.byteLength : rest.byteLength - (rest.byteLength % GROUP);
    this.append(rest.subarray(0, cut));
    this.carry = Buffer.from(rest.subarray(cut));
  }

  private append(bytes: Buffer): void {
    const whole = bytes.byteLength - (bytes.byteLength % GROUP);
    this.end = encodeGroups(bytes.subarray(0, whole), this.buffer, this.end);
    if (whole === bytes.byteLength) return;
    this.end += this.buffer.write(bytes.toString("base64", whole), this.end, "latin1");
  }

  /** The length of the encoded value: it is ASCII, so characters and bytes are the same. */
  get length(): number {
    return this.end - this.start;
  }

  /** The base64 or the JSON text. */
  text(): string {
    return this.buffer.toString("latin1", this.start, this.end);
  }

  /** The encoded value between two other texts. */
  within(before: string, after: string): Uint8Array {
    const start = this.start - Buffer.byteLength(before);
    const end = this.end + Buffer.byteLength(after);
    // The spare bytes are used only once, since a second document would overwrite the first one.
    if (this.isUsed || start < 0 || end > this.buffer.byteLength) {
      const value = this.buffer.subarray(this.start, this.end);
      return Buffer.concat([Buffer.from(before), value, Buffer.from(after)]);
    }
    this.isUsed = true;
    this.buffer.write(before, start);
    this.buffer.write(after, this.end);
    return this.buffer.subarray(start, end);
  }
}
