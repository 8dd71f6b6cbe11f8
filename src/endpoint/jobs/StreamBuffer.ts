/** The maximum bytes of unfetched values per job. */
export const MAX_STREAM_BYTES = 16 * 1024 * 1024;

/** The maximum number and bytes of values that one request fetches; a larger value is returned alone. */
const MAX_FETCHED = 1000;
const MAX_FETCHED_BYTES = 1024 * 1024;

/** The unfetched values of a job's generator; each is the JSON text of an object with `output`. */
export class StreamBuffer {
  private values: Array<Uint8Array> = [];
  private bytes = 0;
  private dropped = 0;

  get size(): number {
    return this.bytes;
  }

  get isEmpty(): boolean {
    return this.values.length === 0;
  }

  /** The number of values that were dropped since the job started. */
  get droppedCount(): number {
    return this.dropped;
  }

  /** Adds a value; returns false, and drops it, if the buffer is full. */
  add(value: Uint8Array): boolean {
    if (this.bytes + value.length > MAX_STREAM_BYTES) {
      this.dropped += 1;
      return false;
    }
    this.values.push(value);
    this.bytes += value.length;
    return true;
  }

  /** Removes and returns the oldest values, as many as one request may fetch. */
  fetch(): ReadonlyArray<Uint8Array> {
    let count = 0;
    let bytes = 0;
    for (const { length } of this.values) {
      if (count === MAX_FETCHED || (count > 0 && bytes + length > MAX_FETCHED_BYTES)) break;
      count += 1;
      bytes += length;
    }
    this.bytes -= bytes;
    return this.values.splice(0, count);
  }

  clear(): void {
    this.values = [];
    this.bytes = 0;
    this.dropped = 0;
  }
}
