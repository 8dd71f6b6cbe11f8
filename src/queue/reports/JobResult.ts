import { Predicate, Result } from "effect";

import { EncodedBody } from "../../domain/EncodedBody.ts";
import { RETURN_LESS } from "../../domain/EncodedResponse.ts";

/** RunPod's documented limits for results. */
const DOCUMENTED_LIMITS = "10 MB for /run and 20 MB for /runsync";

/** The result of a job, encoded for RunPod. */
export interface JobResult {
  readonly jobId: string;
  readonly body: Uint8Array;
  /** Whether values were streamed before. */
  readonly isStream: boolean;
}

const bytes = (document: object): Uint8Array => Buffer.from(JSON.stringify(document));

/** The body for a failed job. */
export const failureBody = (error: unknown): Uint8Array => bytes({ error });

/**
 * The body for the output of a handler. A truthy `error` in it becomes the error of the job, and a truthy
 * `refresh_worker` requests a fresh container after this job.
 */
export const outputBody = (value: unknown, refresh: boolean): Uint8Array => {
  if (value instanceof EncodedBody) return value.toResult(refresh);
  const encoded = Result.try(() => {
    if (!Predicate.isObject(value) || Array.isArray(value)) {
      return bytes({ output: value ?? null, ...(refresh ? { stopPod: true } : {}) });
    }
    const fields: Readonly<Record<string, unknown>> = { ...value };
    const { error, refresh_worker: requested, ...output } = fields;
    return bytes({
      output,
      ...(error ? { error } : {}),
      ...(refresh || requested ? { stopPod: true } : {}),
    });
  });
  return Result.getOrElse(encoded, (reason) =>
    failureBody(`The result can't be encoded as JSON: ${String(reason)}`),
  );
};

/** The body that replaces one that RunPod rejected. */
export const rejectedBody = (status: number | undefined, size: number): Uint8Array =>
  failureBody(
    `RunPod rejected the result of this job (HTTP ${status}). Its size is ${(size / 1e6).toFixed(1)} MB; RunPod documents ${DOCUMENTED_LIMITS}. ${RETURN_LESS}`,
  );
