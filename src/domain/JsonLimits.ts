import { Result, Schema } from "effect";

/** How complex a JSON text may be. Its size in bytes is limited where the bytes are received. */
export interface JsonLimits {
  /** How deep lists and objects may be nested. */
  readonly depth: number;
  /** How many members its objects may have in all; each costs up to a microsecond to parse. */
  readonly keys: number;
  /** How many lists, objects and strings (keys too) it may have in all; each costs about a third of that. */
  readonly items: number;
  /** How many numbers, booleans and nulls it may have in all; a fraction costs as much as a string to write. */
  readonly numbers: number;
}

/**
 * What is read from clients and from RunPod. Texts at these limits are parsed, checked or written again in
 * 20 to 80 ms each, so that none blocks the event loop for longer than 100 ms. Code that walks values by recursion, as
 * Python's json does (it fails at about 1,000 levels), works at this depth; data of clients has a few levels. The
 * number of numbers leaves room for arrays that are sent as plain lists, such as a hundred embeddings.
 */
export const JSON_LIMITS: JsonLimits = {
  depth: 100,
  keys: 50_000,
  items: 100_000,
  numbers: 200_000,
};

/**
 * What a job may return: embeddings and other arrays come as plain lists of numbers. They are checked as they come and
 * passed on as they are written.
 */
export const RESULT_LIMITS: JsonLimits = { ...JSON_LIMITS, numbers: 1_000_000 };

const WHAT = {
  depth: (limit: string) => `it is nested deeper than ${limit} levels`,
  keys: (limit: string) => `its objects have more than ${limit} keys in all`,
  items: (limit: string) => `it has more than ${limit} lists, objects and strings`,
  numbers: (limit: string) => `it has more than ${limit} numbers, booleans and nulls`,
} as const;

/** A JSON text that would take too long to parse or to walk through. */
export class JsonTooComplex extends Schema.TaggedError<JsonTooComplex>()("JsonTooComplex", {
  exceeded: Schema.Literals(["depth", "keys", "items", "numbers"]),
  limit: Schema.Int,
}) {
  override get message(): string {
    const what = WHAT[this.exceeded](this.limit.toLocaleString("en"));
    return `The JSON is too complex: ${what}. Send large data as one string, such as base64 of a cloudpickle or of a file.`;
  }
}

/** A text that is not JSON. The message quotes nothing of the text, which may hold secrets. */
export class JsonInvalid extends Schema.TaggedError<JsonInvalid>()("JsonInvalid", {
  reason: Schema.String,
}) {
  override get message(): string {
    return `This is not JSON: ${this.reason}.`;
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** What a byte begins outside of strings. A literal is a number, a boolean or null. */
const GAP = 0;
const LITERAL = 1;
const STRING = 2;
const OPEN = 3;
const CLOSE = 4;
const COLON = 5;

const KINDS = new Uint8Array(256).fill(LITERAL);
for (const [text, kind] of [
  [" \t\n\r,", GAP],
  ['"', STRING],
  ["[{", OPEN],
  ["]}", CLOSE],
  [":", COLON],
] as const) {
  for (const byte of Buffer.from(text)) KINDS[byte] = kind;
}

/** Stands for the byte after the last one, which is of no kind. */
const END = KINDS.length;

/**
 * The number of bytes of a string that are checked one by one before `indexOf` searches for its end: it is the fastest
 * way through a long string, but a call of it takes longer than checking a few bytes.
 */
const SHORT = 32;

/** Whether the quote at `end` is escaped: by an odd number of backslashes before it. */
const isEscaped = (bytes: Uint8Array, end: number): boolean => {
  let isOdd = false;
  for (let at = end - 1; bytes[at] === BACKSLASH; at -= 1) isOdd = !isOdd;
  return isOdd;
};

/** The position after the string whose first character is at `start`; the length of the text if it has no end. */
const endOfString = (bytes: Uint8Array, start: number): number => {
  let at = start;
  for (;;) {
    const near = at + SHORT;
    while (at < near) {
      const byte = bytes[at];
      if (byte === QUOTE) return at + 1;
      at += byte === BACKSLASH ? 2 : 1;
    }
    const quote = bytes.indexOf(QUOTE, at);
    if (quote === -1) return bytes.length;
    if (!isEscaped(bytes, quote)) return quote + 1;
    at = quote + 1;
  }
};

/** The position after the bytes of one kind that begin at `start`. */
const endOfRun = (bytes: Uint8Array, start: number, kind: number): number => {
  let at = start;
  while (KINDS[bytes[at] ?? END] === kind) at += 1;
  return at;
};

/** The limit that a text exceeds; reading stops there. */
const excessOf = (
  bytes: Uint8Array,
  limits: JsonLimits,
): JsonTooComplex["exceeded"] | undefined => {
  let depth = 0;
  let keys = 0;
  let items = 0;
  let numbers = 0;
  let at = 0;
  while (at < bytes.length) {
    const kind = KINDS[bytes[at] ?? 0];
    at += 1;
    if (kind === GAP) {
      at = endOfRun(bytes, at, GAP);
    } else if (kind === LITERAL) {
      at = endOfRun(bytes, at, LITERAL);
      if (++numbers > limits.numbers) return "numbers";
    } else if (kind === STRING) {
      at = endOfString(bytes, at);
      if (++items > limits.items) return "items";
    } else if (kind === OPEN) {
      if (++depth > limits.depth) return "depth";
      if (++items > limits.items) return "items";
    } else if (kind === CLOSE) {
      depth -= 1;
    } else if (++keys > limits.keys) {
      return "keys";
    }
  }
  return undefined;
};

/**
 * Checks whether a JSON text is within limits, in one pass over its bytes that ends where a limit is exceeded. A text
 * that is not JSON may pass.
 */
export const checkJson = (
  bytes: Uint8Array,
  limits: JsonLimits = JSON_LIMITS,
): Result.Result<void, JsonTooComplex> => {
  const exceeded = excessOf(bytes, limits);
  return exceeded === undefined
    ? Result.void
    : Result.fail(new JsonTooComplex({ exceeded, limit: limits[exceeded] }));
};

/** UTF-8, as `TextDecoder` reads it (without a byte order mark), in a quarter of its time. */
export const textOf = (bytes: Uint8Array): string => {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
  return text.startsWith("\uFEFF") ? text.slice(1) : text;
};

/** V8's reason for a syntax error, without its quotation of the text. */
const reasonOf = (error: unknown): string => {
  const message = String(error);
  const position = /at position \d+ \(line \d+ column \d+\)/.exec(message);
  if (position !== null) return `it has a syntax error ${position[0]}`;
  return message.endsWith("end of JSON input") ? "it ends too early" : "it can't be parsed";
};

/** Parses a JSON text (UTF-8) that is within limits, so that it does not block the event loop for long. */
export const parseJson = (
  bytes: Uint8Array,
  limits: JsonLimits = JSON_LIMITS,
): Result.Result<unknown, JsonTooComplex | JsonInvalid> =>
  Result.flatMap(checkJson(bytes, limits), () =>
    Result.try({
      try: (): unknown => JSON.parse(textOf(bytes)),
      catch: (error) => new JsonInvalid({ reason: reasonOf(error) }),
    }),
  );

const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;

/** The texts between the brackets and commas of the outermost list or object, one after the other. */
function* partsOf(bytes: Uint8Array): Generator<Uint8Array> {
  let depth = 0;
  let begin = 0;
  let at = 0;
  for (;;) {
    const byte = bytes[at];
    if (byte === undefined) return;
    const kind = KINDS[byte];
    at += 1;
    if (kind === LITERAL) {
      at = endOfRun(bytes, at, LITERAL);
    } else if (kind === STRING) {
      at = endOfString(bytes, at);
    } else if (kind === OPEN) {
      depth += 1;
      if (depth === 1) begin = at;
    } else if (kind === CLOSE) {
      depth -= 1;
      if (depth === 0) return yield bytes.subarray(begin, at - 1);
    } else if (byte === COMMA && depth === 1) {
      yield bytes.subarray(begin, at - 1);
      begin = at;
    }
  }
}

/** The most bytes of a name or a short value. */
const MAX_MEMBER = 1000;

const stringOf = (bytes: Uint8Array): string | undefined => {
  if (bytes.length > MAX_MEMBER) return undefined;
  const value = Result.getOrUndefined(parseJson(bytes));
  return typeof value === "string" ? value : undefined;
};

/** Members of the outermost object as texts, by their names; for objects that are too large to be parsed. */
export const memberTexts = (
  bytes: Uint8Array,
  names: ReadonlyArray<string>,
): ReadonlyMap<string, Uint8Array> => {
  const found = new Map<string, Uint8Array>();
  for (const part of partsOf(bytes)) {
    const quote = part.indexOf(QUOTE);
    const colon = endOfString(part, quote + 1);
    const gap = endOfRun(part, colon, GAP);
    const name = stringOf(part.subarray(0, colon));
    const wanted = names.find((one) => one === name);
    // As JSON.parse, the last one of a name counts.
    if (wanted !== undefined) found.set(wanted, part.subarray(gap + 1));
  }
  return found;
};

/** A member of the outermost object, if it is a short string. */
export const stringMember = (bytes: Uint8Array, name: string): string | undefined => {
  const text = memberTexts(bytes, [name]).get(name);
  return text === undefined ? undefined : stringOf(text);
};

/** The most elements of a list that are read. */
const MAX_PARTS = 1000;

/** The elements of a JSON list as texts, or the text itself where it is no list; at most 1000. */
export const elementsOf = (bytes: Uint8Array): ReadonlyArray<Uint8Array> => {
  if (bytes[endOfRun(bytes, 0, GAP)] !== OPEN_BRACKET) return [bytes];
  const elements: Array<Uint8Array> = [];
  for (const part of partsOf(bytes)) {
    if (elements.push(part) === MAX_PARTS) break;
  }
  return elements;
};
