import { Schema } from "effect";
import type { HttpClientError } from "effect/http";

import { codeOf } from "../../platform/ErrorCode.ts";

/** A poll for jobs, or for jobs to stop, failed. */
export class TakeFailed extends Schema.TaggedError<TakeFailed>()("TakeFailed", {
  /** The status of the response; absent without a response. */
  status: Schema.optionalKey(Schema.Int),
  reason: Schema.String,
}) {
  override get message(): string {
    return this.status === 401 || this.status === 403
      ? `RunPod rejected this worker (${this.reason}). RUNPOD_AI_API_KEY or RUNPOD_WEBHOOK_GET_JOB is wrong, or the endpoint was deleted.`
      : `Could not take jobs from RunPod: ${this.reason}. Retrying.`;
  }
}

/** Sending a result, a value of a generator, a progress report or a heartbeat failed. */
export class PostFailed extends Schema.TaggedError<PostFailed>()("PostFailed", {
  status: Schema.optionalKey(Schema.Int),
  reason: Schema.String,
}) {
  override get message(): string {
    return this.reason;
  }

  /** Whether the same request may succeed later. */
  get isRetryable(): boolean {
    const { status } = this;
    return (
      status === undefined || status >= 500 || status === 429 || status === 408 || status === 425
    );
  }

  /** Whether RunPod rejected the body as too large or invalid, so that another one may be accepted. */
  get isAboutContent(): boolean {
    return this.status === 400 || this.status === 413 || this.status === 422;
  }
}

/** Why there was no response, without the URL, which may contain a token. */
export const transportReason = ({ reason }: HttpClientError.HttpClientError): string => {
  const { cause } = reason;
  if (!(cause instanceof Error)) return reason._tag;
  const code = codeOf(cause, "");
  const message = cause.message || cause.name;
  return code === "" ? message : `${message} (${code})`;
};
