/** The most bytes of unfetched values that are kept for each job. */
export const MAX_STREAM_BYTES = 16 * 1024 * 1024;

/** The most values, and bytes of values, that one request fetches; a value that is larger comes alone. */
const MAX_FETCHED = 1000;
const MAX_FETCHED_BYTES = 1024 * 1024;

/** The values of a job's generator that no client has fetched, each the JSON text of an object with its `output`. */
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

  /** The number of values that did not fit since the start. */
  get droppedCount(): number {
    return this.dropped;
  }

  /** Adds a value; false if it does not fit. */
  add(value: Uint8Array): boolean {
    if (this.bytes + value.length > MAX_STREAM_BYTES) {
      this.dropped += 1;
      return false;
    }
    this.values.push(value);
    this.bytes += value.length;
    return true;
  }

  /** Removes the oldest values, as many as one request may fetch. */
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
