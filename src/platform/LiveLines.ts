/** Lines passed on in one second unless the listener wants another number; those beyond are counted. */
const LINES_PER_SECOND = 200;

/** Longer lines are passed on in pieces, so that output without newlines is bounded too. */
const LONGEST_LINE = 64 * 1024;

/** A piece of an endless line counts as so many lines of this length. */
const ORDINARY_LINE = 4 * 1024;

const NEWLINE = 0x0a;

export interface LiveLinesOptions {
  /** More lines in one second are counted only; `Infinity` passes all of them on. */
  readonly linesPerSecond?: number;
  /** The line that replaces the lines that were left out. */
  readonly leftOutNote?: (count: number) => string;
}

const jobNote = (count: number) =>
  `[worker-tetra] ${count} more lines left out here; the job's answer has them`;

/**
 * Passes on the output of a job or a program live, in whole lines exactly as printed. Lines above the limit for
 * one second are replaced by a line with their number.
 */
export class LiveLines {
  private partial: Array<Buffer> = [];
  private partialSize = 0;
  private second = Number.NEGATIVE_INFINITY;
  private passed = 0;
  private leftOut = 0;
  /** The line that is coming in is one of those left out. */
  private skipping = false;
  private readonly emit: (lines: string) => void;
  private readonly now: () => number;
  private readonly linesPerSecond: number;
  private readonly leftOutNote: (count: number) => string;

  /** @param emit gets the lines with their line ends @param now the time in milliseconds */
  constructor(
    emit: (lines: string) => void,
    now: () => number,
    { linesPerSecond = LINES_PER_SECOND, leftOutNote = jobNote }: LiveLinesOptions = {},
  ) {
    this.emit = emit;
    this.now = now;
    this.linesPerSecond = linesPerSecond;
    this.leftOutNote = leftOutNote;
  }

  write(bytes: Buffer): void {
    const second = Math.floor(this.now() / 1000);
    if (second !== this.second) {
      this.emitLeftOut();
      this.second = second;
      this.passed = 0;
    }
    let start = this.skipping ? this.skipLine(bytes, 0) : 0;
    let end = start;
    while (this.passed < this.linesPerSecond) {
      const newline = bytes.indexOf(NEWLINE, end);
      if (newline === -1) break;
      end = newline + 1;
      this.passed += 1;
    }
    if (end > start) this.pass(bytes.subarray(start, end));
    start = end;
    if (this.passed < this.linesPerSecond) {
      this.keep(bytes.subarray(start));
      return;
    }
    this.skipRest(bytes, start);
  }

  /** Ends the output: passes on a last line without a line end, and the number of lines left out. */
  end(): void {
    if (this.partialSize > 0) this.pass(Buffer.from("\n"));
    if (this.skipping) this.leftOut += 1;
    this.emitLeftOut();
  }

  /** Leaves a line out, up to its end or that of the bytes; the position after it. */
  private skipLine(bytes: Buffer, start: number): number {
    const newline = bytes.indexOf(NEWLINE, start);
    this.skipping = newline === -1;
    if (this.skipping) return bytes.byteLength;
    this.leftOut += 1;
    return newline + 1;
  }

  /** Leaves out all lines from a position on, quickly: there may be millions. */
  private skipRest(bytes: Buffer, start: number): void {
    if (start === bytes.byteLength) return;
    for (let at = start; at < bytes.byteLength; at += 1) {
      if (bytes[at] === NEWLINE) this.leftOut += 1;
    }
    this.skipping = bytes[bytes.byteLength - 1] !== NEWLINE;
  }

  private keep(piece: Buffer): void {
    if (this.partialSize + piece.byteLength <= LONGEST_LINE) {
      this.partial.push(Buffer.from(piece));
      this.partialSize += piece.byteLength;
    } else {
      this.passed += Math.ceil((this.partialSize + piece.byteLength) / ORDINARY_LINE);
      this.pass(piece);
    }
  }

  private pass(lines: Buffer): void {
    const whole = Buffer.concat([...this.partial, lines]);
    this.partial = [];
    this.partialSize = 0;
    this.emit(whole.toString());
  }

  private emitLeftOut(): void {
    if (this.leftOut === 0) return;
    this.emit(`${this.leftOutNote(this.leftOut)}\n`);
    this.leftOut = 0;
  }
}
