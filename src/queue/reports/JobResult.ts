import { Predicate, Result } from "effect";

import { EncodedResponse } from "../../domain/EncodedResponse.ts";

/** Sizes that RunPod documents for results, in megabytes. */
const DOCUMENTED = "10 MB for /run and 20 MB for /runsync";

/** The result of a job as it is sent to RunPod. */
export interface JobResult {
  readonly jobId: string;
  readonly body: Uint8Array;
  /** Whether values were streamed before it. */
  readonly isStream: boolean;
}

const bytes = (document: object): Uint8Array => Buffer.from(JSON.stringify(document));

/** The body for a job that failed. */
export const failureBody = (error: unknown): Uint8Array => bytes({ error });

/** The body for the response of a function; its value is not copied again. */
const responseBody = (response: EncodedResponse, refresh: boolean): Uint8Array => {
  const error = response.error === null ? "" : `,"error":${JSON.stringify(response.error)}`;
  return response.toJson('{"output":', `${error}${refresh ? ',"stopPod":true' : ""}}`, false);
};

/**
 * The body for the value of a handler. A truthy `error` in it becomes the error of the job, and a truthy
 * `refresh_worker` asks for a new container after this job.
 */
export const outputBody = (value: unknown, refresh: boolean): Uint8Array => {
  if (value instanceof EncodedResponse) return responseBody(value, refresh);
  const encoded = Result.try(() => {
    if (!Predicate.isObject(value) || Array.isArray(value)) {
      return bytes({ output: value ?? null, ...(refresh ? { stopPod: true } : {}) });
    }
    const fields: Readonly<Record<string, unknown>> = { ...value };
    const { error, refresh_worker: asked, ...output } = fields;
    return bytes({
      output,
      ...(error ? { error } : {}),
      ...(refresh || asked ? { stopPod: true } : {}),
    });
  });
  return Result.getOrElse(encoded, (reason) =>
    failureBody(`The result can't be encoded as JSON: ${String(reason)}`),
  );
};

/** The body in place of one that RunPod refused. */
export const refusedBody = (status: number | undefined, size: number): Uint8Array =>
  failureBody(
    `RunPod refused the result of this job (HTTP ${status}). It is ${(size / 1e6).toFixed(1)} MB as it is sent, and RunPod documents ${DOCUMENTED}. ` +
      "Return less: write what is large to a file (the current directory is on the network volume, if there is one) or upload it, and return its path or address.",
  );
