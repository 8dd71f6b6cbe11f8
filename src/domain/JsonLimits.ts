import { Result, Schema } from "effect";

/** Limits for the complexity of a JSON text. Its size in bytes is limited where the bytes are received. */
export interface JsonLimits {
  /** The maximum nesting of lists and objects. */
  readonly depth: number;
  /** The maximum number of keys in all objects; each takes up to a microsecond to parse. */
  readonly keys: number;
  /** The maximum number of lists, objects and strings (including keys); each takes about a third of that. */
  readonly items: number;
  /** The maximum number of numbers, booleans and nulls; encoding a fraction takes as long as a string. */
  readonly numbers: number;
}

/**
 * The limits for texts from clients and from RunPod. Parsing, checking or encoding a text at these limits takes 20 to
 * 80 ms, so that none blocks the event loop for longer than 100 ms. Recursive code works at this depth (Python's json
 * fails at about 1,000 levels); requests of clients have a few levels. The limit for numbers allows arrays that are
 * sent as plain lists, such as a hundred embeddings.
 */
export const JSON_LIMITS: JsonLimits = {
  depth: 100,
  keys: 50_000,
  items: 100_000,
  numbers: 200_000,
};

/**
 * The limits for results: embeddings and other arrays are plain lists of numbers. Results are checked incrementally and
 * passed on without parsing.
 */
export const RESULT_LIMITS: JsonLimits = { ...JSON_LIMITS, numbers: 1_000_000 };

const DESCRIPTIONS = {
  depth: (limit: string) => `it is nested deeper than ${limit} levels`,
  keys: (limit: string) => `its objects have more than ${limit} keys in all`,
  items: (limit: string) => `it has more than ${limit} lists, objects and strings`,
  numbers: (limit: string) => `it has more than ${limit} numbers, booleans and nulls`,
} as const;

/** A JSON text that would take too long to parse or to traverse. */
export class JsonTooComplex extends Schema.TaggedError<JsonTooComplex>()("JsonTooComplex", {
  exceeded: Schema.Literals(["depth", "keys", "items", "numbers"]),
  limit: Schema.Int,
}) {
  override get message(): string {
    const description = DESCRIPTIONS[this.exceeded](this.limit.toLocaleString("en"));
    return `The JSON is too complex: ${description}. Send large data as one string, such as base64 of a cloudpickle or of a file.`;
  }
}

/** A text that is not JSON. The message does not quote the text, which may contain secrets. */
export class JsonInvalid extends Schema.TaggedError<JsonInvalid>()("JsonInvalid", {
  reason: Schema.String,
}) {
  override get message(): string {
    return `Invalid JSON: ${this.reason}.`;
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** The kinds of bytes outside strings: what a byte begins. A literal is a number, a boolean or null. */
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

/** The index for the end of the text, which has no kind. */
const END = KINDS.length;

/**
 * The number of bytes of a string that are checked one by one before `indexOf` searches for its end: `indexOf` is
 * faster for long strings, but a call takes longer than checking a few bytes.
 */
const SHORT_STRING = 32;

/** Whether the quote at `end` is escaped: by an odd number of backslashes before it. */
const isEscaped = (bytes: Uint8Array, end: number): boolean => {
  let isOdd = false;
  for (let at = end - 1; bytes[at] === BACKSLASH; at -= 1) isOdd = !isOdd;
  return isOdd;
};

/**
 * The position after the string whose first character is at `start`; the length of the text if the string has no end.
 */
const endOfString = (bytes: Uint8Array, start: number): number => {
  let at = start;
  for (;;) {
    const searchFrom = at + SHORT_STRING;
    while (at < searchFrom) {
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

/** The position after the bytes of one kind that start at `start`. */
const endOfRun = (bytes: Uint8Array, start: number, kind: number): number => {
  let at = start;
  while (KINDS[bytes[at] ?? END] === kind) at += 1;
  return at;
};

/** The first limit that a text exceeds; does not read further. */
const exceededLimit = (
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
 * Checks that a JSON text is within limits, in one pass over its bytes that stops where a limit is exceeded. A text
 * that is not JSON may pass.
 */
export const checkJson = (
  bytes: Uint8Array,
  limits: JsonLimits = JSON_LIMITS,
): Result.Result<void, JsonTooComplex> => {
  const exceeded = exceededLimit(bytes, limits);
  return exceeded === undefined
    ? Result.void
    : Result.fail(new JsonTooComplex({ exceeded, limit: limits[exceeded] }));
};

/** Decodes UTF-8 like `TextDecoder` (without a byte order mark), but four times as fast. */
export const textOf = (bytes: Uint8Array): string => {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
  return text.startsWith("\uFEFF") ? text.slice(1) : text;
};

/** V8's description of a syntax error, without the quoted text. */
const reasonOf = (error: unknown): string => {
  const message = String(error);
  const position = /at position \d+ \(line \d+ column \d+\)/.exec(message);
  if (position !== null) return `syntax error ${position[0]}`;
  return message.endsWith("end of JSON input") ? "unexpected end" : "syntax error";
};

/** Parses a JSON text (UTF-8) within limits, so that it does not block the event loop for long. */
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

/** Yields the texts between the brackets and commas of the outermost list or object. */
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

/** The maximum number of bytes of a name or a short value. */
const MAX_MEMBER = 1000;

const stringOf = (bytes: Uint8Array): string | undefined => {
  if (bytes.length > MAX_MEMBER) return undefined;
  const value = Result.getOrUndefined(parseJson(bytes));
  return typeof value === "string" ? value : undefined;
};

/** The members of the outermost object with these names, as unparsed texts; for objects that are too large to parse. */
export const memberTexts = (
  bytes: Uint8Array,
  names: ReadonlyArray<string>,
): ReadonlyMap<string, Uint8Array> => {
  const requested = new Set(names);
  const found = new Map<string, Uint8Array>();
  for (const part of partsOf(bytes)) {
    const quote = part.indexOf(QUOTE);
    const colon = endOfString(part, quote + 1);
    const gap = endOfRun(part, colon, GAP);
    const name = stringOf(part.subarray(0, colon));
    // The last member with a name counts, as in JSON.parse.
    if (name !== undefined && requested.has(name)) found.set(name, part.subarray(gap + 1));
  }
  return found;
};

/** The value of a member of the outermost object, if it is a short string. */
export const stringMember = (bytes: Uint8Array, name: string): string | undefined => {
  const text = memberTexts(bytes, [name]).get(name);
  return text === undefined ? undefined : stringOf(text);
};

/** The maximum number of elements of a list that are read by default. */
const MAX_PARTS = 1000;

/** The first elements of a JSON list as texts; or the text itself if it is not a list. */
export const elementsOf = (bytes: Uint8Array, limit = MAX_PARTS): ReadonlyArray<Uint8Array> => {
  if (bytes[endOfRun(bytes, 0, GAP)] !== OPEN_BRACKET) return [bytes];
  const elements: Array<Uint8Array> = [];
  for (const part of partsOf(bytes)) {
    if (elements.push(part) === limit) break;
  }
  return elements;
};
