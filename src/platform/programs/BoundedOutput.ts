/** Divisor: one quarter of the limit is for the beginning of a long output, the rest for its end. */
const HEAD_SHARE = 4;

/**
 * Keeps the beginning and the end of an output, up to a limit in bytes. Buffers grow with the output, so a short
 * output needs little memory.
 */
export class BoundedOutput {
  private readonly headLimit: number;
  private readonly tailLimit: number;
  /** Grows as needed, up to `headLimit`. */
  private start: Buffer = Buffer.alloc(0);
  private headSize = 0;
  /** A ring: the next byte goes to `tailWritten` modulo its length. */
  private ring: Buffer = Buffer.alloc(0);
  private tailWritten = 0;

  constructor(limit: number) {
    this.headLimit = Math.floor(limit / HEAD_SHARE);
    this.tailLimit = limit - this.headLimit;
  }

  /** Copies the bytes, so that the caller can reuse their buffer. */
  write(bytes: Uint8Array): void {
    const toHead = Math.min(bytes.byteLength, this.headLimit - this.headSize);
    if (toHead > 0) this.writeHead(bytes.subarray(0, toHead));
    if (toHead < bytes.byteLength) this.writeTail(bytes.subarray(toHead));
  }

  /** The number of bytes that are left out between head and tail. */
  get missing(): number {
    return Math.max(0, this.tailWritten - this.ring.byteLength);
  }

  get head(): Buffer {
    return this.start.subarray(0, this.headSize);
  }

  get tail(): Buffer {
    const { ring, tailWritten } = this;
    if (this.missing === 0) return ring.subarray(0, tailWritten);
    const at = tailWritten % ring.byteLength;
    return Buffer.concat([ring.subarray(at), ring.subarray(0, at)]);
  }

  private writeHead(bytes: Uint8Array): void {
    const size = this.headSize + bytes.byteLength;
    if (size > this.start.byteLength) {
      const grown = Buffer.allocUnsafe(Math.min(this.headLimit, 2 * size));
      this.start.copy(grown, 0, 0, this.headSize);
      this.start = grown;
    }
    this.start.set(bytes, this.headSize);
    this.headSize = size;
  }

  private writeTail(bytes: Uint8Array): void {
    if (this.ring.byteLength === 0) this.ring = Buffer.allocUnsafe(this.tailLimit);
    const size = this.ring.byteLength;
    // Only the last `size` bytes remain in the ring, so earlier ones are not copied.
    const skipped = Math.max(0, bytes.byteLength - size);
    let rest = bytes.subarray(skipped);
    this.tailWritten += skipped;
    while (rest.byteLength > 0) {
      const at = this.tailWritten % size;
      const piece = rest.subarray(0, size - at);
      this.ring.set(piece, at);
      this.tailWritten += piece.byteLength;
      rest = rest.subarray(piece.byteLength);
    }
  }
}
