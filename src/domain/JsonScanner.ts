import { JSON_LIMITS, JsonInvalid, type JsonLimits, JsonTooComplex } from "./JsonLimits.ts";

/** The states: what is expected next. */
const VALUE = 0;
const VALUE_OR_END = 1;
const KEY = 2;
const KEY_OR_END = 3;
const COLON = 4;
const COMMA_OR_END = 5;
const STRING = 6;
const ESCAPE = 7;
const HEX = 8;
const LITERAL = 9;
const DONE = 10;

const LIST = 0;
const OBJECT = 1;

const byteOf = (letter: string): number => letter.charCodeAt(0);
const QUOTE = byteOf('"');
const BACKSLASH = byteOf("\\");
const BRACKET = byteOf("[");
const BRACKET_END = byteOf("]");
const BRACE = byteOf("{");
const BRACE_END = byteOf("}");
const COLON_BYTE = byteOf(":");
const COMMA = byteOf(",");
const LOWER_U = byteOf("u");
const FIRST_PRINTABLE = 0x20;
const LAST_ASCII = 0x7f;

const ESCAPED = new Set(Buffer.from('"\\/bfnrt'));
const HEX_DIGITS = new Set(Buffer.from("0123456789abcdefABCDEF"));
const LITERAL_BYTES = new Set(Buffer.from("0123456789+-.eEtrufalsn"));
const HEX_LENGTH = 4;

/** Python writes integers with any number of digits, so the length needs a limit. */
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const MAX_LITERAL_LENGTH = 5000;

const isSpace = (byte: number): boolean =>
  byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

/**
 * Checks incrementally that bytes are one JSON text, in ASCII and within limits, without storing them: the result of a
 * job can then be inserted into a larger document unchanged. The check stops at the first error; later bytes are
 * ignored.
 */
export class JsonScanner {
  private readonly limits: JsonLimits;
  private readonly open: Uint8Array;
  private depth = 0;
  private keys = 0;
  private items = 0;
  private numbers = 0;
  private state = VALUE;
  private isKey = false;
  private hexLeft = 0;
  private literal = "";
  private problem: JsonInvalid | JsonTooComplex | undefined;

  constructor(limits: JsonLimits = JSON_LIMITS) {
    this.limits = limits;
    this.open = new Uint8Array(limits.depth);
  }

  write(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && this.problem === undefined) {
      if (this.state === STRING) at = this.scanString(bytes, at);
      else if (this.state === LITERAL) at = this.scanLiteral(bytes, at);
      else {
        this.step(bytes[at] ?? 0);
        at += 1;
      }
    }
  }

  /** Ends the text. Returns an error if it is invalid or too complex. */
  end(): JsonInvalid | JsonTooComplex | undefined {
    if (this.state === LITERAL && this.problem === undefined) this.endLiteral();
    if (this.problem === undefined && this.state !== DONE) this.invalid("unexpected end");
    return this.problem;
  }

  private invalid(reason: string): void {
    this.problem = new JsonInvalid({ reason });
  }

  private count(what: "keys" | "items" | "numbers"): void {
    this[what] += 1;
    if (this[what] > this.limits[what]) this.exceed(what);
  }

  private exceed(exceeded: keyof JsonLimits): void {
    this.problem = new JsonTooComplex({ exceeded, limit: this.limits[exceeded] });
  }

  /** Handles one byte outside the inside of strings and literals. */
  private step(byte: number): void {
    switch (this.state) {
      case ESCAPE:
        if (byte === LOWER_U) {
          this.state = HEX;
          this.hexLeft = HEX_LENGTH;
        } else if (ESCAPED.has(byte)) this.state = STRING;
        else this.invalid("a string has an invalid escape");
        return;
      case HEX:
        this.hexLeft -= 1;
        if (!HEX_DIGITS.has(byte)) this.invalid("a string has an invalid escape");
        else if (this.hexLeft === 0) this.state = STRING;
        return;
      default:
        if (!isSpace(byte)) this.token(byte);
    }
  }

  private token(byte: number): void {
    switch (this.state) {
      case VALUE_OR_END:
        return byte === BRACKET_END ? this.close() : this.value(byte);
      case VALUE:
        return this.value(byte);
      case KEY_OR_END:
        return byte === BRACE_END ? this.close() : this.key(byte);
      case KEY:
        return this.key(byte);
      case COLON:
        this.state = VALUE;
        return byte === COLON_BYTE ? undefined : this.invalid("a key has no value");
      case COMMA_OR_END: {
        const isObject = this.open[this.depth - 1] === OBJECT;
        if (byte === (isObject ? BRACE_END : BRACKET_END)) return this.close();
        this.state = isObject ? KEY : VALUE;
        return byte === COMMA ? undefined : this.invalid("a comma is missing");
      }
      default:
        return this.invalid("unexpected text after the end");
    }
  }

  private value(byte: number): void {
    if (byte === QUOTE) {
      this.count("items");
      this.isKey = false;
      this.state = STRING;
    } else if (byte === BRACKET || byte === BRACE) {
      this.count("items");
      if (this.depth === this.limits.depth) return this.exceed("depth");
      this.open[this.depth] = byte === BRACE ? OBJECT : LIST;
      this.depth += 1;
      this.state = byte === BRACE ? KEY_OR_END : VALUE_OR_END;
    } else {
      this.count("numbers");
      this.literal = String.fromCharCode(byte);
      this.state = LITERAL;
    }
  }

  private key(byte: number): void {
    if (byte !== QUOTE) return this.invalid("a key is missing");
    this.count("keys");
    this.count("items");
    this.isKey = true;
    this.state = STRING;
  }

  private close(): void {
    this.depth -= 1;
    this.afterValue();
  }

  private afterValue(): void {
    this.state = this.depth === 0 ? DONE : COMMA_OR_END;
  }

  /** Scans the inside of a string up to its end or an escape. */
  private scanString(bytes: Uint8Array, start: number): number {
    let at = start;
    while (at < bytes.length) {
      const byte = bytes[at] ?? 0;
      if (byte === QUOTE || byte === BACKSLASH || byte < FIRST_PRINTABLE || byte > LAST_ASCII) {
        if (byte === BACKSLASH) this.state = ESCAPE;
        else if (byte !== QUOTE) this.invalid("a string has a character that must be escaped");
        else if (this.isKey) this.state = COLON;
        else this.afterValue();
        return at + 1;
      }
      at += 1;
    }
    return at;
  }

  /** Scans the inside of a number, true, false or null. */
  private scanLiteral(bytes: Uint8Array, start: number): number {
    let at = start;
    while (LITERAL_BYTES.has(bytes[at] ?? 0)) at += 1;
    this.literal += Buffer.from(bytes.buffer, bytes.byteOffset + start, at - start).toString(
      "latin1",
    );
    if (this.literal.length > MAX_LITERAL_LENGTH) this.invalid("a number is too long");
    else if (at < bytes.length) this.endLiteral();
    return at;
  }

  private endLiteral(): void {
    const isName = this.literal === "true" || this.literal === "false" || this.literal === "null";
    if (isName || NUMBER.test(this.literal)) this.afterValue();
    else this.invalid("a value is missing");
  }
}
