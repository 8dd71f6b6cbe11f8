/** Lines passed on in one second; those beyond are counted. */
const LINES_PER_SECOND = 200;

/** A line that grows beyond this is passed on in pieces, so that no newline never means no bound. */
const LONGEST_LINE = 64 * 1024;

const NEWLINE = 0x0a;

/**
 * Passes a job's output on as it comes, in whole lines exactly as printed, at most 200 a second: of a flood
 * a line with the number of those left out takes the place.
 */
export class LiveLines {
  private partial: Array<Buffer> = [];
  private partialSize = 0;
  private second = Number.NEGATIVE_INFINITY;
  private passed = 0;
  private leftOut = 0;
  private readonly emit: (lines: string) => void;
  private readonly now: () => number;

  /** @param emit gets the lines with their line ends @param now the time in milliseconds */
  constructor(emit: (lines: string) => void, now: () => number) {
    this.emit = emit;
    this.now = now;
  }

  write(bytes: Buffer): void {
    const second = Math.floor(this.now() / 1000);
    if (second !== this.second) {
      this.tell();
      this.second = second;
      this.passed = 0;
    }
    let start = 0;
    let end = -1;
    while (this.passed < LINES_PER_SECOND) {
      const newline = bytes.indexOf(NEWLINE, end + 1);
      if (newline === -1) break;
      end = newline;
      this.passed += 1;
    }
    if (end >= 0) {
      this.pass(bytes.subarray(0, end + 1));
      start = end + 1;
    }
    let newline = bytes.indexOf(NEWLINE, start);
    while (newline !== -1) {
      this.leftOut += 1;
      this.partial = [];
      this.partialSize = 0;
      start = newline + 1;
      newline = bytes.indexOf(NEWLINE, start);
    }
    if (start < bytes.byteLength) this.keep(bytes.subarray(start));
  }

  /** The output is over: passes on a last line without an end, and the count of those left out. */
  end(): void {
    if (this.partialSize > 0) {
      if (this.passed < LINES_PER_SECOND) this.pass(Buffer.from("\n"));
      else this.leftOut += 1;
    }
    this.tell();
  }

  private keep(piece: Buffer): void {
    if (this.partialSize + piece.byteLength <= LONGEST_LINE) {
      this.partial.push(Buffer.from(piece));
      this.partialSize += piece.byteLength;
      return;
    }
    if (this.passed < LINES_PER_SECOND) {
      this.passed += 1;
      this.pass(piece);
      return;
    }
    this.partial = [];
    this.partialSize = 0;
  }

  private pass(lines: Buffer): void {
    this.emit(Buffer.concat([...this.partial, lines]).toString());
    this.partial = [];
    this.partialSize = 0;
  }

  private tell(): void {
    if (this.leftOut === 0) return;
    this.emit(
      `[worker-tetra] ${this.leftOut} more lines left out here; the job's answer has them\n`,
    );
    this.leftOut = 0;
  }
}
