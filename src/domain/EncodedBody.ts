/** An output of a job that is inserted into documents without parsing it again. */
export abstract class EncodedBody {
  /** Any JSON value if the job failed, or null. */
  abstract readonly error: unknown;

  /**
   * The JSON text of the job's result for RunPod: an object with `output`, with `error` if the job failed, and with
   * `stopPod` if `refresh` is true or the output requests a fresh container.
   */
  abstract toResult(refresh: boolean): Uint8Array;

  /** The JSON text of an object with `output`, for one value of a stream. */
  abstract toChunk(): Uint8Array;
}
