import { BoundedOutput } from "../../platform/programs/BoundedOutput.ts";

/** A UTF-8 character has at most three continuation bytes. */
const isContinuation = (byte: number | undefined) => byte !== undefined && (byte & 0xc0) === 0x80;

const withoutCutCharacterAtEnd = (bytes: Buffer): Buffer => {
  for (let back = 1; back <= Math.min(4, bytes.byteLength); back += 1) {
    const byte = bytes[bytes.byteLength - back] ?? 0;
    if (isContinuation(byte)) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? bytes.subarray(0, bytes.byteLength - back) : bytes;
  }
  return bytes;
};

const withoutCutCharacterAtStart = (bytes: Buffer): Buffer => {
  let start = 0;
  while (start < 3 && isContinuation(bytes[start])) start += 1;
  return bytes.subarray(start);
};

/**
 * Keeps the output of a job within a limit of bytes: its beginning, its end, and between them a note with the number of
 * missing bytes.
 */
export class OutputCapture {
  private readonly limit: number;
  private readonly kept: BoundedOutput;

  constructor(limit: number) {
    this.limit = limit;
    this.kept = new BoundedOutput(limit);
  }

  /** Copies the bytes, so that the caller can reuse their buffer. */
  write(bytes: Uint8Array): void {
    this.kept.write(bytes);
  }

  /** The kept output as text; invalid UTF-8 becomes U+FFFD. */
  text(): string {
    const { head, tail, missing } = this.kept;
    if (missing === 0) return Buffer.concat([head, tail]).toString();
    const note = `\n[worker-tetra] ${missing} bytes of output left out here: the output exceeds WORKER_OUTPUT_LIMIT (${this.limit} bytes)\n`;
    const beginning = withoutCutCharacterAtEnd(head).toString();
    return beginning + note + withoutCutCharacterAtStart(tail).toString();
  }
}
