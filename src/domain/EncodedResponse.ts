import { ByteSize } from "effect";

import type { EncodedValue } from "./EncodedValue.ts";
import { failure, type FunctionResponse, success } from "./FunctionResponse.ts";

/** A number of bytes for people, such as `20 MiB`. */
const formatSize = (bytes: number): string =>
  ByteSize.format(ByteSize.bytes(bytes), { precision: 1 });

const ADVICE =
  "Return less: write what is large to a file (the current directory is on the network volume, if there is one) or upload it to S3, and return its path or address.";

/** The most bytes of one value of a stream that RunPod documents. */
export const MAX_CHUNK_BYTES = 1_000_000;

/** The limit for a response as it is sent, and where the limit comes from. */
export interface ResponseLimit {
  readonly bytes: number;
  /** The beginning of a sentence, such as `WORKER_RESULT_LIMIT allows`. */
  readonly source: string;
}

/** The error of a response that is too large; `what` describes its size. */
export const tooLarge = (what: string, { bytes, source }: ResponseLimit): string =>
  `The result is too large: ${what}, and ${source} at most ${formatSize(bytes)} as it is sent. ${ADVICE}`;

/** The most bytes that a document around a response adds. */
export const DOCUMENT_OVERHEAD_BYTES = 1024;

/** The number of bytes of a text in JSON. */
const encodedLength = (text: string): number => Buffer.byteLength(JSON.stringify(text));

/** A character takes at most six bytes in JSON. */
const LONGEST_ENCODING = 6;

const charactersIn = (bytes: number): number => Math.max(0, Math.floor(bytes / LONGEST_ENCODING));

const cutError = (text: string, bytes: number): string =>
  encodedLength(text) <= bytes ? text : text.slice(0, charactersIn(bytes)).toWellFormed();

const cutOutput = (text: string, bytes: number): string => {
  if (encodedLength(text) <= bytes) return text;
  const note = "[worker-tetra] The output before this was left out: the answer was too large\n";
  const kept = charactersIn(bytes - note.length);
  return kept === 0 ? note : note + text.slice(-kept).toWellFormed();
};

/** A failed response within the limit: keeps the beginning of the error and the end of the output. */
const fitted = (
  fields: FunctionResponse,
  error: string,
  limit: ResponseLimit,
): FunctionResponse => {
  const { stdout, instance_id, instance_info } = fields;
  const room =
    limit.bytes - 2 * DOCUMENT_OVERHEAD_BYTES - Buffer.byteLength(JSON.stringify(instance_info));
  return failure(cutError(error, room / 2), {
    stdout: stdout === null ? null : cutOutput(stdout, room / 2),
    instance_id,
    instance_info,
  });
};

/** The response to a request, with its value as the bytes that are written into documents. */
export class EncodedResponse {
  /** All but the value. */
  private readonly fields: FunctionResponse;
  private readonly value: EncodedValue | undefined;

  private constructor(fields: FunctionResponse, value: EncodedValue | undefined) {
    this.fields = fields;
    this.value = value;
  }

  /** A response that is known to be small. */
  static of(fields: FunctionResponse): EncodedResponse {
    return new EncodedResponse(fields, undefined);
  }

  /** One value of a generator, whose size is limited already. */
  static chunk(value: EncodedValue): EncodedResponse {
    return new EncodedResponse(success({}), value);
  }

  /** The response if it is within the limit, else a failure with its size and the limit. */
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
      tooLarge(
        `with ${formatSize(rest)} that the code printed it is ${formatSize(size)} as it is sent`,
        limit,
      );
    return new EncodedResponse(fitted(fields, error, limit), undefined);
  }

  get success(): boolean {
    return this.fields.success;
  }

  get error(): string | null {
    return this.fields.error;
  }

  /** The response as a JavaScript value, which takes several times its memory. */
  toResponse(): FunctionResponse {
    if (this.value === undefined) return this.fields;
    const text = this.value.text();
    return this.value.format === "json"
      ? { ...this.fields, json_result: JSON.parse(text) }
      : { ...this.fields, result: text };
  }

  /** As JSON between two other pieces; without `error` if the caller puts that elsewhere. */
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
