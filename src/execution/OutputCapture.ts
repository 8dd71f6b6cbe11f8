/** One part in so many of the limit keeps the beginning of a long output; the rest keeps its end. */
const HEAD_SHARE = 4;

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
 * What one job writes to stdout and stderr, kept within a limit of bytes: the beginning, the end, and between
 * them a note of how much is missing. Memory is taken as output comes.
 */
export class OutputCapture {
  private readonly limit: number;
  private readonly headLimit: number;
  private readonly head: Array<Buffer> = [];
  private headSize = 0;
  /** A ring: the next byte goes to `tailWritten` modulo its length. */
  private tail: Buffer = Buffer.alloc(0);
  private tailWritten = 0;

  constructor(limit: number) {
    this.limit = limit;
    this.headLimit = Math.floor(limit / HEAD_SHARE);
  }

  /** Takes a copy of the bytes, so that the caller can use their buffer again. */
  write(bytes: Uint8Array): void {
    const toHead = Math.min(bytes.byteLength, this.headLimit - this.headSize);
    if (toHead > 0) {
      this.head.push(Buffer.from(bytes.subarray(0, toHead)));
      this.headSize += toHead;
    }
    if (toHead < bytes.byteLength) this.writeTail(bytes.subarray(toHead));
  }

  /** All that was kept, decoded; what is not UTF-8 becomes U+FFFD. */
  text(): string {
    const kept = Math.min(this.tailWritten, this.tail.byteLength);
    const missing = this.tailWritten - kept;
    const at = kept === 0 ? 0 : this.tailWritten % this.tail.byteLength;
    const tail =
      missing > 0
        ? [this.tail.subarray(at), this.tail.subarray(0, at)]
        : [this.tail.subarray(0, kept)];
    if (missing === 0) return Buffer.concat([...this.head, ...tail]).toString();
    const note = `\n[worker-tetra] ${missing} bytes of output left out here: more than WORKER_OUTPUT_LIMIT (${this.limit} bytes) was written\n`;
    const beginning = withoutCutCharacterAtEnd(Buffer.concat(this.head)).toString();
    return beginning + note + withoutCutCharacterAtStart(Buffer.concat(tail)).toString();
  }

  private writeTail(bytes: Uint8Array): void {
    if (this.tail.byteLength === 0) this.tail = Buffer.allocUnsafe(this.limit - this.headLimit);
    const size = this.tail.byteLength;
    // Of more than the ring holds, only the end will be left.
    const skipped = Math.max(0, bytes.byteLength - size);
    let rest = bytes.subarray(skipped);
    this.tailWritten += skipped;
    while (rest.byteLength > 0) {
      const at = this.tailWritten % size;
      const piece = rest.subarray(0, size - at);
      this.tail.set(piece, at);
      this.tailWritten += piece.byteLength;
      rest = rest.subarray(piece.byteLength);
    }
  }
}
