import type { JobStatus, JobView } from "../../domain/EndpointJob.ts";
import { memberTexts } from "../../domain/JsonLimits.ts";

const MEMBERS = ["status", "output", "error"] as const;

const IN_PROGRESS = Buffer.from('"IN_PROGRESS"');

/**
 * The result or progress that a worker sent for a job. Its parts stay JSON texts on the way to clients: parsing and
 * encoding a large result would block the event loop for seconds, and take several times its memory.
 */
export class SentResult {
  readonly bytes: Uint8Array;
  readonly output: Uint8Array | undefined;
  readonly error: Uint8Array | undefined;
  /** Whether the job is still running. */
  readonly isProgress: boolean;

  private constructor(bytes: Uint8Array, texts: ReadonlyMap<string, Uint8Array>) {
    this.bytes = bytes;
    this.output = texts.get("output");
    this.error = texts.get("error");
    this.isProgress = IN_PROGRESS.equals(texts.get("status") ?? IN_PROGRESS.subarray(0, 0));
  }

  /** Undefined if the text has neither a status nor an output nor an error. */
  static of(bytes: Uint8Array): SentResult | undefined {
    const texts = memberTexts(bytes, MEMBERS);
    return texts.size === 0 ? undefined : new SentResult(bytes, texts);
  }

  static ofError(error: string): SentResult {
    const text = Buffer.from(JSON.stringify(error));
    const bytes = Buffer.concat([Buffer.from('{"error":'), text, Buffer.from("}")]);
    return new SentResult(bytes, new Map([["error", text]]));
  }
}

/** The JSON text of a stream response; each chunk is the text of an object with `output`. */
export const streamJson = (status: JobStatus, chunks: ReadonlyArray<Uint8Array>): Uint8Array =>
  Buffer.concat([
    Buffer.from(`{"status":"${status}","stream":[`),
    ...chunks.flatMap((chunk, at) => (at === 0 ? [chunk] : [Buffer.from(","), chunk])),
    Buffer.from("]}"),
  ]);

/** A snapshot of a job for clients. */
export class LocalJob {
  private readonly state: Omit<JobView, "output" | "error">;
  private readonly result: SentResult | undefined;

  constructor(state: Omit<JobView, "output" | "error">, result: SentResult | undefined) {
    this.state = state;
    this.result = result;
  }

  get id(): string {
    return this.state.id;
  }

  get status(): JobStatus {
    return this.state.status;
  }

  /** The size of the result in bytes. */
  get resultSize(): number {
    return this.result?.bytes.length ?? 0;
  }

  /** The JSON text of a `JobView`. */
  toJson(): Uint8Array {
    const parts: Array<Uint8Array> = [Buffer.from(JSON.stringify(this.state).slice(0, -1))];
    const { output, error } = this.result ?? {};
    if (output !== undefined) parts.push(Buffer.from(',"output":'), output);
    if (error !== undefined) parts.push(Buffer.from(',"error":'), error);
    return Buffer.concat([...parts, Buffer.from("}")]);
  }
}
