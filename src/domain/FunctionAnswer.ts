import { ByteSize } from "effect";

import type { EncodedValue } from "./EncodedValue.ts";
import { failure, type FunctionResponse, success } from "./FunctionResponse.ts";

/** A number of bytes for people, such as `20 MiB`. */
const formatSize = (bytes: number): string =>
  ByteSize.format(ByteSize.bytes(bytes), { precision: 1 });

const ADVICE =
  "Return less: write what is large to a file (the current directory is on the network volume, if there is one) or upload it to S3, and return its path or address.";

/** RunPod documents 1 MB for one value of a stream, in bytes. */
export const CHUNK_LIMIT = 1_000_000;

/** The limit for an answer as it is sent, and where the limit comes from. */
export interface AnswerLimit {
  readonly bytes: number;
  /** The beginning of a sentence, such as `WORKER_RESULT_LIMIT allows`. */
  readonly source: string;
}

/** The error of an answer that is too large; `what` tells its size. */
export const tooLarge = (what: string, { bytes, source }: AnswerLimit): string =>
  `The result is too large: ${what}, and ${source} at most ${formatSize(bytes)} as it is sent. ${ADVICE}`;

/** Room for what a document around an answer adds, in bytes. */
export const DOCUMENT_OVERHEAD = 1024;

/** The bytes of a text in JSON. */
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

/** A failed answer that fits: keeps the beginning of the error and the end of the output. */
const fitted = (fields: FunctionResponse, error: string, limit: AnswerLimit): FunctionResponse => {
  const { stdout, instance_id, instance_info } = fields;
  const room =
    limit.bytes - 2 * DOCUMENT_OVERHEAD - Buffer.byteLength(JSON.stringify(instance_info));
  return failure(cutError(error, room / 2), {
    stdout: stdout === null ? null : cutOutput(stdout, room / 2),
    instance_id,
    instance_info,
  });
};

/** The answer to a request, with its value as it came from Python: as it is written into documents. */
export class FunctionAnswer {
  /** All but the value. */
  private readonly fields: FunctionResponse;
  private readonly value: EncodedValue | undefined;

  private constructor(fields: FunctionResponse, value: EncodedValue | undefined) {
    this.fields = fields;
    this.value = value;
  }

  /** An answer that is known to be small. */
  static of(fields: FunctionResponse): FunctionAnswer {
    return new FunctionAnswer(fields, undefined);
  }

  /** One value of a generator, which was limited before it came. */
  static chunk(value: EncodedValue): FunctionAnswer {
    return new FunctionAnswer(success({}), value);
  }

  /** The answer if it is within the limit, else a failure with its size and the limit. */
  static within(
    limit: AnswerLimit,
    fields: FunctionResponse,
    value?: EncodedValue,
  ): FunctionAnswer {
    const rest = Buffer.byteLength(JSON.stringify(fields)) + DOCUMENT_OVERHEAD;
    const size = rest + (value?.length ?? 0);
    if (size <= limit.bytes) return new FunctionAnswer(fields, value);
    const error =
      fields.error ??
      tooLarge(
        `with ${formatSize(rest)} that the code printed it is ${formatSize(size)} as it is sent`,
        limit,
      );
    return new FunctionAnswer(fitted(fields, error, limit), undefined);
  }

  get success(): boolean {
    return this.fields.success;
  }

  get error(): string | null {
    return this.fields.error;
  }

  /** The answer as a JavaScript value, which takes several times its memory. */
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
