/** Default limit; lines beyond it are only counted. */
const LINES_PER_SECOND = 200;

/** In bytes. Longer lines are emitted in pieces, so memory stays bounded for output without newlines. */
const LONGEST_LINE = 64 * 1024;

/** In bytes. A piece of a long line counts as one line for each of these. */
const ORDINARY_LINE = 4 * 1024;

const NEWLINE = 0x0a;

export interface LiveLinesOptions {
  /** Lines beyond this number in one second are only counted; `Infinity` emits all. */
  readonly linesPerSecond?: number;
  /** Text of the line that replaces those left out. */
  readonly leftOutNote?: (count: number) => string;
}

const jobNote = (count: number) =>
  `[worker-tetra] ${count} more lines left out here; the job's response contains them`;

/**
 * Emits the output of a job or a program live, in complete lines exactly as printed. Lines above the limit for one
 * second are replaced by a line with their number.
 */
export class LiveLines {
  private partial: Array<Buffer> = [];
  private partialSize = 0;
  private second = Number.NEGATIVE_INFINITY;
  private passed = 0;
  private leftOut = 0;
  /** Whether the current line is being left out. */
  private skipping = false;
  private readonly emit: (lines: string) => void;
  private readonly now: () => number;
  private readonly linesPerSecond: number;
  private readonly leftOutNote: (count: number) => string;

  /** @param emit receives the lines with their line ends @param now returns the time in milliseconds */
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

  /** Ends the output: emits a last line without a line end, and the number of lines left out. */
  end(): void {
    if (this.partialSize > 0) this.pass(Buffer.from("\n"));
    if (this.skipping) this.leftOut += 1;
    this.emitLeftOut();
  }

  /** Leaves out the line that begins at `start`; returns the position after it. */
  private skipLine(bytes: Buffer, start: number): number {
    const newline = bytes.indexOf(NEWLINE, start);
    this.skipping = newline === -1;
    if (this.skipping) return bytes.byteLength;
    this.leftOut += 1;
    return newline + 1;
  }

  /** Leaves out all lines from `start`. A byte loop, because there may be millions of lines. */
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
