import { ByteSize } from "effect";

import { EncodedBody } from "./EncodedBody.ts";
import { base64Capacity, type EncodedValue } from "./EncodedValue.ts";
import type { SerializationFormat } from "./FunctionRequest.ts";
import { failure, type FunctionResponse, success } from "./FunctionResponse.ts";

/** Formats a number of bytes, such as `20 MiB`. */
export const formatSize = (bytes: number): string =>
  ByteSize.format(ByteSize.bytes(bytes), { precision: 1 });

/** What to do about a result that is too large. */
export const RETURN_LESS =
  "Return less: write large data to a file on the network volume or upload it to S3, and return its path or URL.";

/** RunPod's documented limit for one value of a stream. */
export const MAX_CHUNK_BYTES = 1_000_000;

/** The limit for an encoded response, and where the limit comes from. */
export interface ResponseLimit {
  readonly bytes: number;
  /** The beginning of a sentence, such as `WORKER_RESULT_LIMIT allows`. */
  readonly source: string;
}

/** The error for a response that is too large; `size` describes how large it is. */
export const tooLarge = (size: string, { bytes, source }: ResponseLimit): string =>
  `The result is too large: ${size}; ${source} at most ${formatSize(bytes)} for the encoded response. ${RETURN_LESS}`;

/** The maximum number of bytes that the document around a response adds. */
export const DOCUMENT_OVERHEAD_BYTES = 1024;

const capacity = (format: SerializationFormat, bytes: number): number => {
  const available = Math.max(0, bytes - DOCUMENT_OVERHEAD_BYTES);
  return format === "json" ? available : base64Capacity(available);
};

/** The maximum size of a value as Python sends it, in bytes, whose encoding fits into a response. */
export const valueCapacity = (format: SerializationFormat, limit: ResponseLimit): number =>
  capacity(format, limit.bytes);

/** The same for one value of a stream. */
export const chunkCapacity = (format: SerializationFormat, limit: ResponseLimit): number =>
  capacity(format, Math.min(MAX_CHUNK_BYTES, limit.bytes));

/** The number of bytes of a text in JSON. */
const encodedLength = (text: string): number => Buffer.byteLength(JSON.stringify(text));

/** The maximum number of bytes of one character in JSON. */
const MAX_BYTES_PER_CHARACTER = 6;

const charactersIn = (bytes: number): number =>
  Math.max(0, Math.floor(bytes / MAX_BYTES_PER_CHARACTER));

/** The beginning of an error whose JSON has at most so many bytes. */
export const truncateError = (text: string, bytes: number): string =>
  encodedLength(text) <= bytes ? text : text.slice(0, charactersIn(bytes)).toWellFormed();

const truncateOutput = (text: string, bytes: number): string => {
  if (encodedLength(text) <= bytes) return text;
  const note = "[worker-tetra] Earlier output was dropped: the response was too large\n";
  const kept = charactersIn(bytes - note.length);
  return kept === 0 ? note : note + text.slice(-kept).toWellFormed();
};

/** A failed response within the limit: keeps the beginning of the error and the end of the output. */
const truncatedFailure = (
  fields: FunctionResponse,
  error: string,
  limit: ResponseLimit,
): FunctionResponse => {
  const { stdout, instance_id, instance_info } = fields;
  const available =
    limit.bytes - 2 * DOCUMENT_OVERHEAD_BYTES - Buffer.byteLength(JSON.stringify(instance_info));
  return failure(truncateError(error, available / 2), {
    stdout: stdout === null ? null : truncateOutput(stdout, available / 2),
    instance_id,
    instance_info,
  });
};

/** The response to a request, with an encoded value that is inserted into documents. */
export class EncodedResponse extends EncodedBody {
  /** All fields except the value. */
  private readonly fields: FunctionResponse;
  private readonly value: EncodedValue | undefined;

  private constructor(fields: FunctionResponse, value: EncodedValue | undefined) {
    super();
    this.fields = fields;
    this.value = value;
  }

  /** A response without a value, which the caller knows to be small. */
  static of(fields: FunctionResponse): EncodedResponse {
    return new EncodedResponse(fields, undefined);
  }

  /** One value of a generator, whose size is already limited. */
  static chunk(value: EncodedValue): EncodedResponse {
    return new EncodedResponse(success({}), value);
  }

  /** The response if it is within the limit, or else a failure with its size and the limit. */
  static within(
    limit: ResponseLimit,
    fields: FunctionResponse,
    value?: EncodedValue,
  ): EncodedResponse {
    const rest = Buffer.byteLength(JSON.stringify(fields)) + DOCUMENT_OVERHEAD_BYTES;
    const size = rest + (value?.length ?? 0);
    if (size <= limit.bytes) return new EncodedResponse(fields, value);
    const error =
      fields.error ??
      tooLarge(`${formatSize(size)}, including ${formatSize(rest)} of output`, limit);
    return new EncodedResponse(truncatedFailure(fields, error, limit), undefined);
  }

  get success(): boolean {
    return this.fields.success;
  }

  get error(): string | null {
    return this.fields.error;
  }

  /** The response as a JavaScript value, which takes several times the memory. */
  toResponse(): FunctionResponse {
    if (this.value === undefined) return this.fields;
    const text = this.value.text();
    return this.value.format === "json"
      ? { ...this.fields, json_result: JSON.parse(text) }
      : { ...this.fields, result: text };
  }

  toResult(refresh: boolean): Uint8Array {
    const error = this.error === null ? "" : `,"error":${JSON.stringify(this.error)}`;
    return this.toJson('{"output":', `${error}${refresh ? ',"stopPod":true' : ""}}`, false);
  }

  toChunk(): Uint8Array {
    return this.toJson('{"output":', "}");
  }

  /** The JSON text between two other texts; without `error` if the caller puts it elsewhere. */
  toJson(before = "", after = "", withError = true): Uint8Array {
    const { success, result, json_result, error, ...others } = this.fields;
    const rest = withError ? { error, ...others } : others;
    const { value } = this;
    if (value === undefined) {
      return Buffer.from(
        before + JSON.stringify({ success, result, json_result, ...rest }) + after,
      );
    }
    const start = `${before}{"success":${success},"result":`;
    const end = `${JSON.stringify(rest).slice(1)}${after}`;
    return value.format === "json"
      ? value.within(`${start}null,"json_result":`, `,${end}`)
      : value.within(`${start}"`, `","json_result":null,${end}`);
  }
}
