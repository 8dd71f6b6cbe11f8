import type { Secrets } from "./Secrets.ts";

/** Maximum number of consecutive bytes of a secret that may be shown. */
const MAX_VISIBLE = 8;
const WINDOW = MAX_VISIBLE + 1;

/** Maximum length of a UTF-8 character, in bytes. */
const MAX_CHARACTER_BYTES = 4;

/** A byte that does not occur in UTF-8. */
const SEPARATOR = Buffer.of(0xff);

const NEWLINE = 0x0a;

const STARS = Buffer.from("***");
const NOTHING = Buffer.alloc(0);

const isContinuation = (byte = 0) => (byte & 0xc0) === 0x80;

/** The start of the character at this byte. */
const startOfCharacter = (text: Buffer, at: number): number => {
  const earliest = Math.max(0, at - MAX_CHARACTER_BYTES + 1);
  let start = at;
  while (start > earliest && isContinuation(text[start])) start -= 1;
  return start;
};

/** The end of a range, moved to the end of its last character. */
const endOfCharacter = (text: Buffer, from: number): number => {
  let end = from;
  while (isContinuation(text[end])) end += 1;
  return end;
};

/** A range of bytes to hide. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** The same ranges, sorted, with overlapping ones merged. */
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

/** All pairs of bytes, or 16 bits of a hash. */
const TABLE_SIZE = 1 << 16;

/** The byte at an index and the one before it. */
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
 * Finds parts of secrets that are too long to be shown. Such a part exists exactly where a 9-byte window of the text is
 * also a window of a secret, so secrets are found wherever they were cut. The last two bytes of a window rule out most
 * windows, together with the next eight positions. Takes linear time for any text.
 */
class Fragments {
  /** All secrets, each followed by a byte that does not occur in texts. */
  private readonly secrets: Buffer;
  /** Positions of windows in the secrets, by hash. */
  private readonly windows = new Map<number, ReadonlyArray<number>>();
  /** 1 for each pair of bytes that occurs in a secret, else 0. */
  private readonly pairs = new Uint8Array(TABLE_SIZE);
  /** 1 for each slot with the hash of a window, else 0: faster than the map. */
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

  /** The ranges of a text to hide. */
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
        // A newline may be shown, so it need not be kept pending.
        const start = text[at] === NEWLINE ? at + 1 : startOfCharacter(text, at);
        ranges.push({ start, end: endOfCharacter(text, end) });
        at = end - WINDOW;
      }
      at += 1;
    }
    return ranges;
  }

  /** The number of bytes at the end of a text that may be the start of a part to hide. */
  pendingAtEnd(text: Buffer): number {
    const { length } = text;
    const most = Math.min(MAX_VISIBLE, length);
    let open = Math.min(1, most);
    while (open < most && this.pairs[pairAt(text, length - open)] === 1) open += 1;
    // Ends at zero at the latest: every buffer includes the empty one.
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

  /** The end of the part of a secret that starts at `start`; `start` if there is none. */
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

  /** The number of bytes at the end of a text that may be the start of a phrase. */
  pendingAtEnd(text: Buffer): number {
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

/** Redacts a text that arrives in chunks. */
export interface MaskedStream {
  /** Emits all bytes that can't belong to a secret. The caller may reuse the buffer afterwards. */
  readonly write: (bytes: Buffer) => void;
  /** Emits the rest. */
  readonly end: () => void;
}

/** Replaces secrets, and parts of more than eight bytes of them, by `***`. */
export class Redactor {
  private readonly fragments: Fragments;
  private readonly phrases: Phrases;
  /** Whether there is nothing to hide; streams are then passed through. */
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
    // Returns the same string: a round trip through bytes would change unpaired surrogates.
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
   * Redacts a text that arrives in chunks, which may be split anywhere, also within a secret or a character. The last
   * bytes are kept pending while they can be the start of a secret; a newline never can.
   *
   * @param emit must copy the bytes to keep them
   */
  stream(emit: (bytes: Buffer) => void): MaskedStream {
    if (this.isIdle) return { write: emit, end: () => {} };
    let pending: Buffer = NOTHING;
    /** How many of the pending bytes were already emitted: those of a newline, or none. */
    let emitted = 0;
    /** How many of the pending bytes are known to belong to a secret. */
    let pendingHidden = 0;
    /** Whether the last emitted bytes are the stars of the current secret. */
    let endsWithStars = false;

    /** Emits the bytes before `limit`, and keeps those from `keepFrom` on pending. */
    const emitBefore = (text: Buffer, limit: number, keepFrom: number): void => {
      const ranges = merged([{ start: 0, end: pendingHidden }, ...this.find(text)]);
      const parts: Array<Buffer> = [];
      let position = emitted;
      pendingHidden = 0;
      for (const range of ranges) {
        const start = Math.max(position, range.start);
        const { end } = range;
        if (start > limit) break;
        pendingHidden = Math.max(0, end - keepFrom);
        if (end <= start) continue;
        if (start > position) {
          parts.push(text.subarray(position, start));
          endsWithStars = false;
        }
        if (!endsWithStars) parts.push(STARS);
        endsWithStars = true;
        position = Math.min(end, limit);
      }
      if (position < limit) {
        parts.push(text.subarray(position, limit));
        endsWithStars = false;
      }
      pending = Buffer.from(text.subarray(keepFrom));
      emitted = limit - keepFrom;
      const [first] = parts;
      if (first !== undefined) emit(parts.length === 1 ? first : Buffer.concat(parts));
    };

    return {
      write: (bytes) => {
        const text = pending.length === 0 ? bytes : Buffer.concat([pending, bytes]);
        const open = Math.max(this.fragments.pendingAtEnd(text), this.phrases.pendingAtEnd(text));
        const keepFrom = text.length - open;
        emitBefore(
          text,
          Math.max(emitted, text[keepFrom] === NEWLINE ? keepFrom + 1 : keepFrom),
          keepFrom,
        );
      },
      end: () => emitBefore(pending, pending.length, pending.length),
    };
  }

  private find(bytes: Buffer): ReadonlyArray<Range> {
    return [...this.fragments.find(bytes), ...this.phrases.find(bytes)];
  }
}
