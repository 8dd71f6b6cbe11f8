import type { Schema } from "effect";

import { EncodedBody } from "./EncodedBody.ts";
import {
  DOCUMENT_OVERHEAD_BYTES,
  formatSize,
  type ResponseLimit,
  tooLarge,
  truncateError,
} from "./EncodedResponse.ts";
import type { EncodedValue } from "./EncodedValue.ts";

interface OutputFields {
  /** JSON from Python; undefined if there is no output. */
  readonly value?: EncodedValue | undefined;
  /** Any JSON value if the job failed, or null. */
  readonly error?: Schema.Json;
  /** Whether the job requests a fresh container. */
  readonly refresh?: boolean;
}

const EMPTY_OBJECT = "{}";

/** The output of a failed job, besides its error: Flash's clients read both. */
interface FailedOutput {
  readonly success: false;
  readonly traceback: string;
}

const sizeOf = (document: unknown): number =>
  Buffer.byteLength(JSON.stringify(document)) + DOCUMENT_OVERHEAD_BYTES;

/** The output of a deployed app: bare JSON, without the fields of a response. */
export class EncodedOutput extends EncodedBody {
  readonly error: Schema.Json;
  /** JSON from Python, or a small JSON text. */
  private readonly value: EncodedValue | string | undefined;
  private readonly refresh: boolean;

  private constructor({
    value,
    error = null,
    refresh = false,
  }: Omit<OutputFields, "value"> & { readonly value?: EncodedValue | string | undefined }) {
    super();
    this.value = value;
    this.error = error;
    this.refresh = refresh;
  }

  /** The output if it is within the limit, or else a failure with its size and the limit. */
  static within(limit: ResponseLimit, { value, ...fields }: OutputFields): EncodedOutput {
    const rest = sizeOf(fields);
    const size = rest + (value?.length ?? 0);
    if (size <= limit.bytes) return new EncodedOutput({ value, ...fields });
    return new EncodedOutput({ ...fields, error: tooLarge(formatSize(size), limit) });
  }

  /** One value of a generator, whose size is already limited. */
  static chunk(value: EncodedValue): EncodedOutput {
    return new EncodedOutput({ value });
  }

  /** A failure within the limit: keeps the beginning of the error. */
  static failure(limit: ResponseLimit, error: string): EncodedOutput {
    return new EncodedOutput({
      error: truncateError(error, limit.bytes - DOCUMENT_OVERHEAD_BYTES),
    });
  }

  /** The same with a traceback, whose beginning is kept too. */
  static exception(limit: ResponseLimit, error: string, traceback: string): EncodedOutput {
    const available = (limit.bytes - DOCUMENT_OVERHEAD_BYTES) / 2;
    const output: FailedOutput = { success: false, traceback: truncateError(traceback, available) };
    return new EncodedOutput({
      error: truncateError(error, available),
      value: JSON.stringify(output),
    });
  }

  private get text(): string | undefined {
    return typeof this.value === "object" ? this.value.text() : this.value;
  }

  toResult(refresh: boolean): Uint8Array {
    const { value, error } = this;
    const failure = error === null ? [] : [`"error":${JSON.stringify(error)}`];
    const members = [...failure, ...(refresh || this.refresh ? ['"stopPod":true'] : [])];
    // As in runpod-python, a failed job has no empty output.
    const isEmpty = error !== null && this.text === EMPTY_OBJECT;
    if (value === undefined || isEmpty) return Buffer.from(`{${members.join(",")}}`);
    const end = `${members.map((member) => `,${member}`).join("")}}`;
    return typeof value === "string"
      ? Buffer.from(`{"output":${value}${end}`)
      : value.within('{"output":', end);
  }

  toChunk(): Uint8Array {
    return this.toResult(false);
  }
}
