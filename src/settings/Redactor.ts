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

const isContinuation = (byte = 0) => (byte & 0xc0) === 0x80;

/** The start of the character that contains this byte. */
const startOfCharacter = (text: Buffer, at: number): number => {
  const earliest = Math.max(0, at - LONGEST_CHARACTER + 1);
  let start = at;
  while (start > earliest && isContinuation(text[start])) start -= 1;
  return start;
};

/** The end of a part of a text, moved to where no character is cut. */
const endOfCharacter = (text: Buffer, from: number): number => {
  let end = from;
  while (isContinuation(text[end])) end += 1;
  return end;
};

/** A part of a text to hide. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** The same parts in order, each as long as possible. */
const merged = (ranges: ReadonlyArray<Range>): ReadonlyArray<Range> => {
  const all: Array<Range> = [];
  for (const { start, end } of ranges.toSorted((one, other) => one.start - other.start)) {
    const last = all.at(-1);
    if (last !== undefined && start <= last.end) {
      all[all.length - 1] = { start: last.start, end: Math.max(last.end, end) };
    } else all.push({ start, end });
  }
  return all;
};

/** Pairs of bytes, and 16 bits of a hash. */
const TABLE_SIZE = 1 << 16;

/** The byte at a position and the one before it. */
const pairAt = (bytes: Buffer, at: number): number =>
  ((bytes[at - 1] ?? 0) << 8) | (bytes[at] ?? 0);

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
  /** The positions of windows in the secrets, by their hash. */
  private readonly windows = new Map<number, ReadonlyArray<number>>();
  /** For each pair of bytes 1 if it is part of a secret, else 0. */
  private readonly pairs = new Uint8Array(TABLE_SIZE);
  /** For each slot of hashes 1 if a window has such a hash, else 0: quicker than the map. */
  private readonly slots = new Uint8Array(TABLE_SIZE);

  constructor(secrets: ReadonlyArray<string>) {
    this.secrets = Buffer.concat(secrets.flatMap((text) => [Buffer.from(text), SEPARATOR]));
    for (const at of this.secrets.keys()) this.pairs[pairAt(this.secrets, at)] = 1;
    let start = 0;
    for (const text of secrets) {
      const end = start + Buffer.byteLength(text);
      for (let at = start; at + WINDOW <= end; at += 1) this.add(at);
      start = end + SEPARATOR.length;
    }
  }

  /** The parts of a text to hide. */
  find(text: Buffer): ReadonlyArray<Range> {
    const { pairs, slots } = this;
    const ranges: Array<Range> = [];
    let at = 0;
    while (at + WINDOW <= text.length) {
      if (pairs[pairAt(text, at + WINDOW - 1)] === 0) {
        at += WINDOW - 1;
        continue;
      }
      const hash = hashAt(text, at);
      const end = slots[slotOf(hash)] === 0 ? at : this.endOfMatch(text, at, hash);
      if (end > at) {
        // A line end can be shown, and so need not be held back.
        const start = text[at] === NEWLINE ? at + 1 : startOfCharacter(text, at);
        ranges.push({ start, end: endOfCharacter(text, end) });
        at = end - WINDOW;
      }
      at += 1;
    }
    return ranges;
  }

  /** How many bytes at the end of a text may be the start of a part that is too long. */
  openAtEnd(text: Buffer): number {
    const { length } = text;
    const most = Math.min(VISIBLE, length);
    let open = Math.min(1, most);
    while (open < most && this.pairs[pairAt(text, length - open)] === 1) open += 1;
    // The empty rest is in every text, so that is where this loop ends.
    while (!this.secrets.includes(text.subarray(length - open))) open -= 1;
    return length - startOfCharacter(text, length - open);
  }

  private add(at: number): void {
    const { secrets, windows } = this;
    const hash = hashAt(secrets, at);
    this.slots[slotOf(hash)] = 1;
    const others = windows.get(hash) ?? [];
    const isKnown = others.some(
      (other) => secrets.compare(secrets, at, at + WINDOW, other, other + WINDOW) === 0,
    );
    if (!isKnown) windows.set(hash, [...others, at]);
  }

  /** The end of the part of a secret that starts here; the start if there is none. */
  private endOfMatch(text: Buffer, start: number, hash: number): number {
    const positions = this.windows.get(hash);
    if (positions === undefined) return start;
    let end = start;
    for (const at of positions) {
      let length = 0;
      while (start + length < text.length && text[start + length] === this.secrets[at + length]) {
        length += 1;
      }
      if (length >= WINDOW) end = Math.max(end, start + length);
    }
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

  find(text: Buffer): ReadonlyArray<Range> {
    const ranges: Array<Range> = [];
    for (const { bytes, from, to } of this.phrases) {
      let at = text.indexOf(bytes);
      while (at !== -1) {
        ranges.push({ start: at + from, end: at + to });
        at = text.indexOf(bytes, at + to);
      }
    }
    return ranges;
  }

  /** How many bytes at the end of a text may be the start of one. */
  openAtEnd(text: Buffer): number {
    let open = 0;
    for (const { bytes } of this.phrases) {
      const first = bytes.subarray(0, 1);
      let at = text.indexOf(first, Math.max(0, text.length - bytes.length + 1));
      while (at !== -1 && text.compare(bytes, 0, text.length - at, at) !== 0) {
        at = text.indexOf(first, at + 1);
      }
      if (at !== -1) open = Math.max(open, text.length - at);
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
  /** Whether there is nothing to hide: then a flood of output costs nothing here. */
  private readonly isIdle: boolean;

  constructor({ values, phrases }: Secrets) {
    this.fragments = new Fragments(values);
    this.phrases = new Phrases(phrases);
    this.isIdle = values.length === 0 && phrases.length === 0;
  }

  /** Redacts a whole text. */
  mask(text: string): string {
    const bytes = Buffer.from(text);
    const ranges = merged(this.find(bytes));
    // Not even halves of characters are changed then.
    if (ranges.length === 0) return text;
    let shown = "";
    let position = 0;
    for (const { start, end } of ranges) {
      shown += `${bytes.toString("utf8", position, start)}***`;
      position = end;
    }
    return shown + bytes.toString("utf8", position);
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
      const ranges = merged([{ start: 0, end: hidden }, ...this.find(text)]);
      const parts: Array<Buffer> = [];
      let position = passed;
      hidden = 0;
      for (const range of ranges) {
        const start = Math.max(position, range.start);
        const { end } = range;
        if (start > limit) break;
        hidden = Math.max(0, end - kept);
        if (end <= start) continue;
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

  private find(bytes: Buffer): ReadonlyArray<Range> {
    return [...this.fragments.find(bytes), ...this.phrases.find(bytes)];
  }
}
