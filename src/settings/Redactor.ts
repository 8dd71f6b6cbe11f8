import type { Secrets } from "./Secrets.ts";

/** The most consecutive bytes of a secret that may be shown, wherever it was cut. */
const VISIBLE = 8;
const WINDOW = VISIBLE + 1;

/** The most bytes of a UTF-8 character. */
const LONGEST_CHARACTER = 4;

/** A byte that does not occur in UTF-8. */
const SEPARATOR = Buffer.of(0xff);

const NEWLINE = 0x0a;

const STARS = Buffer.from("***");
const NOTHING = Buffer.alloc(0);

/** Pairs of bytes, and 16 bits of a hash. */
const TABLE_SIZE = 1 << 16;

const isContinuation = (byte: number | undefined) => byte !== undefined && (byte & 0xc0) === 0x80;

/** The start of the character that contains this byte. */
const startOfCharacter = (text: Buffer, at: number): number => {
  const earliest = Math.max(0, at - LONGEST_CHARACTER + 1);
  let start = at;
  while (start > earliest && isContinuation(text[start])) start -= 1;
  return start;
};

/** Parts of a text to hide, in order and without overlap: start, end, start, end, … */
type Ranges = Array<number>;

/** Adds a part that does not start before the last one. */
const addRange = (ranges: Ranges, start: number, end: number): void => {
  const last = ranges.length - 1;
  const previous = ranges[last];
  if (previous !== undefined && start <= previous) ranges[last] = Math.max(previous, end);
  else ranges.push(start, end);
};

const union = (one: Ranges, other: Ranges): Ranges => {
  if (other.length === 0) return one;
  const pairs: Array<readonly [number, number]> = [];
  for (const ranges of [one, other]) {
    for (let index = 0; index < ranges.length; index += 2) {
      pairs.push([ranges[index] ?? 0, ranges[index + 1] ?? 0]);
    }
  }
  const merged: Ranges = [];
  for (const [start, end] of pairs.toSorted((a, b) => a[0] - b[0])) addRange(merged, start, end);
  return merged;
};

const hashAt = (bytes: Buffer, start: number): number => {
  let hash = 0;
  for (let index = start; index < start + WINDOW; index += 1) {
    hash = Math.imul(hash, 0x01_00_01_93) ^ (bytes[index] ?? 0);
  }
  return hash;
};

const slotOf = (hash: number): number => (hash ^ (hash >>> 16)) & (TABLE_SIZE - 1);

/**
 * Finds parts of secrets. A text contains a part that is too long exactly where one of its 9-byte windows is also
 * a window of a secret, so secrets are found wherever they were cut. Most windows, and the next eight positions
 * with them, are ruled out by their last two bytes; the time is linear for any text.
 */
class Fragments {
  /** All secrets, each followed by a byte that no text has. */
  private readonly secrets: Buffer;
  /** The position of a window in the secrets, by its hash. */
  private readonly windows = new Map<number, number>();
  /** The position of the next window with the same hash; -1: none. */
  private readonly others: Int32Array;
  private readonly hashes = new Uint8Array(TABLE_SIZE);
  private readonly pairs = new Uint8Array(TABLE_SIZE);
  private readonly bytes = new Uint8Array(256);

  constructor(secrets: ReadonlyArray<string>) {
    this.secrets = Buffer.concat(secrets.flatMap((text) => [Buffer.from(text), SEPARATOR]));
    this.others = new Int32Array(this.secrets.length).fill(-1);
    let start = 0;
    for (const text of secrets) {
      const end = start + Buffer.byteLength(text);
      for (let at = start; at + WINDOW <= end; at += 1) this.add(at);
      start = end + SEPARATOR.length;
    }
  }

  get isEmpty(): boolean {
    return this.windows.size === 0;
  }

  /** The parts of a text to hide. */
  find(text: Buffer): Ranges {
    const { pairs, hashes } = this;
    const ranges: Ranges = [];
    const last = text.length - WINDOW;
    let at = 0;
    while (at <= last) {
      const pair = ((text[at + WINDOW - 2] ?? 0) << 8) | (text[at + WINDOW - 1] ?? 0);
      if (pairs[pair] === 0) {
        at += WINDOW - 1;
        continue;
      }
      const hash = hashAt(text, at);
      const end = hashes[slotOf(hash)] === 0 ? at : this.endOfMatch(text, at, hash);
      if (end > at) {
        // A line end can be shown, and so need not be held back.
        const start = text[at] === NEWLINE ? at + 1 : startOfCharacter(text, at);
        addRange(ranges, start, end);
        at = end - WINDOW;
      }
      at += 1;
    }
    return ranges;
  }

  /** How many bytes at the end of a text may be the start of a part that is too long. */
  openAtEnd(text: Buffer): number {
    const { length } = text;
    if (length === 0 || this.bytes[text[length - 1] ?? 0] === 0) return 0;
    let open = 1;
    while (open < Math.min(VISIBLE, length)) {
      const pair = ((text[length - open - 1] ?? 0) << 8) | (text[length - open] ?? 0);
      if (this.pairs[pair] === 0) break;
      open += 1;
    }
    while (open > 0 && !this.secrets.includes(text.subarray(length - open))) open -= 1;
    return length - startOfCharacter(text, length - open);
  }

  private add(at: number): void {
    const { secrets, windows, others } = this;
    const hash = hashAt(secrets, at);
    const first = windows.get(hash) ?? -1;
    for (let same = first; same !== -1; same = others[same] ?? -1) {
      if (secrets.compare(secrets, at, at + WINDOW, same, same + WINDOW) === 0) return;
    }
    others[at] = first;
    windows.set(hash, at);
    this.hashes[slotOf(hash)] = 1;
    for (let index = at; index < at + WINDOW; index += 1) {
      const byte = secrets[index] ?? 0;
      this.bytes[byte] = 1;
      if (index > at) this.pairs[((secrets[index - 1] ?? 0) << 8) | byte] = 1;
    }
  }

  /** The end of the part of a secret that starts here, extended to a whole character; the start if there is none. */
  private endOfMatch(text: Buffer, start: number, hash: number): number {
    const { secrets, windows, others } = this;
    let end = start;
    for (let at = windows.get(hash) ?? -1; at !== -1; at = others[at] ?? -1) {
      let length = 0;
      while (start + length < text.length && text[start + length] === secrets[at + length]) {
        length += 1;
      }
      if (length >= WINDOW) end = Math.max(end, start + length);
    }
    if (end > start) while (isContinuation(text[end])) end += 1;
    return end;
  }
}

/** Finds texts that are hidden only as a whole. */
class Phrases {
  private readonly phrases: ReadonlyArray<{
    readonly bytes: Buffer;
    readonly from: number;
    readonly to: number;
  }>;

  constructor(phrases: Secrets["phrases"]) {
    this.phrases = phrases.map(({ text, from, to }) => ({
      bytes: Buffer.from(text),
      from: Buffer.byteLength(text.slice(0, from)),
      to: Buffer.byteLength(text.slice(0, to)),
    }));
  }

  get isEmpty(): boolean {
    return this.phrases.length === 0;
  }

  find(text: Buffer): Ranges {
    let all: Ranges = [];
    for (const { bytes, from, to } of this.phrases) {
      const ranges: Ranges = [];
      let at = text.indexOf(bytes);
      while (at !== -1) {
        addRange(ranges, at + from, at + to);
        at = text.indexOf(bytes, at + Math.max(1, to));
      }
      all = union(all, ranges);
    }
    return all;
  }

  /** How many bytes at the end of a text may be the start of one. */
  openAtEnd(text: Buffer): number {
    let open = 0;
    for (const { bytes } of this.phrases) {
      const first = bytes[0] ?? 0;
      let at = text.indexOf(first, Math.max(0, text.length - bytes.length + 1));
      while (at !== -1 && text.length - at > open) {
        const length = text.length - at;
        if (text.compare(bytes, 0, length, at) === 0) open = length;
        at = text.indexOf(first, at + 1);
      }
    }
    return open;
  }
}

/** Redacts a text that arrives in pieces. */
export interface MaskedStream {
  /** Emits all that can't be the start of a secret. The caller may reuse the bytes afterwards. */
  readonly write: (bytes: Buffer) => void;
  /** Emits the rest. */
  readonly end: () => void;
}

/** Replaces secrets, and every part of one that is longer than eight bytes, by `***`. */
export class Redactor {
  private readonly fragments: Fragments;
  private readonly phrases: Phrases;

  constructor({ values, phrases }: Secrets) {
    this.fragments = new Fragments(values);
    this.phrases = new Phrases(phrases);
  }

  /** Redacts a whole text. */
  mask(text: string): string {
    if (this.isIdle) return text;
    const bytes = Buffer.from(text);
    const ranges = this.find(bytes);
    if (ranges.length === 0) return text;
    const parts: Array<string> = [];
    let position = 0;
    for (let index = 0; index < ranges.length; index += 2) {
      parts.push(bytes.toString("utf8", position, ranges[index]), "***");
      position = ranges[index + 1] ?? position;
    }
    parts.push(bytes.toString("utf8", position));
    return parts.join("");
  }

  /**
   * The same for a text that arrives in pieces, which may be split anywhere, also in a secret or a character. The
   * last bytes are held back as long as they can be the start of a secret; a line end never can.
   *
   * @param emit gets bytes that it must copy to keep them
   */
  stream(emit: (bytes: Buffer) => void): MaskedStream {
    if (this.isIdle) return { write: emit, end: () => {} };
    let held: Buffer = NOTHING;
    /** How many of the held-back bytes were already emitted: those of a line end, or none. */
    let passed = 0;
    /** How many of them are known to belong to a secret. */
    let hidden = 0;
    /** Whether the stars for the bytes right before the next one were already emitted. */
    let hasStars = false;

    /** Emits the bytes before the limit, and keeps those from a position on. */
    const pass = (text: Buffer, limit: number, kept: number): void => {
      const ranges = union(this.find(text), hidden > 0 ? [0, hidden] : []);
      const parts: Array<Buffer> = [];
      let position = passed;
      hidden = 0;
      for (let index = 0; index < ranges.length; index += 2) {
        const start = Math.max(position, ranges[index] ?? 0);
        const end = ranges[index + 1] ?? 0;
        if (start > limit) break;
        if (end > limit) hidden = end - kept;
        if (start === limit || end <= start) continue;
        if (start > position) {
          parts.push(text.subarray(position, start));
          hasStars = false;
        }
        if (!hasStars) parts.push(STARS);
        hasStars = true;
        position = Math.min(end, limit);
      }
      if (position < limit) {
        parts.push(text.subarray(position, limit));
        hasStars = false;
      }
      held = Buffer.from(text.subarray(kept));
      passed = limit - kept;
      const [first] = parts;
      if (first !== undefined) emit(parts.length === 1 ? first : Buffer.concat(parts));
    };

    return {
      write: (bytes) => {
        const text = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
        const open = Math.max(this.fragments.openAtEnd(text), this.phrases.openAtEnd(text));
        const kept = text.length - open;
        pass(text, Math.max(passed, text[kept] === NEWLINE ? kept + 1 : kept), kept);
      },
      end: () => pass(held, held.length, held.length),
    };
  }

  private get isIdle(): boolean {
    return this.fragments.isEmpty && this.phrases.isEmpty;
  }

  private find(bytes: Buffer): Ranges {
    return union(this.fragments.find(bytes), this.phrases.find(bytes));
  }
}
