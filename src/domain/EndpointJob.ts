import { Schema } from "effect";

/** Where a job is, in RunPod's words. */
export const JobStatus = Schema.Literals([
  "IN_QUEUE",
  "IN_PROGRESS",
  "COMPLETED",
  "FAILED",
  "CANCELLED",
  "TIMED_OUT",
]);
export type JobStatus = typeof JobStatus.Type;

/** Whether nothing more happens to a job by itself. */
export const isFinal = (status: JobStatus): boolean =>
  status !== "IN_QUEUE" && status !== "IN_PROGRESS";

const limit = Schema.optionalKey(Schema.NullOr(Schema.Finite));

/** What a client hands in at an endpoint; it may have more keys than these. */
export const JobRequest = Schema.Struct({
  /** Absent or empty, the job fails with a message that says so. */
  input: Schema.optionalKey(Schema.Json),
  /** Where the finished job is posted to. */
  webhook: Schema.optionalKey(Schema.NullOr(Schema.String)),
  policy: Schema.optionalKey(
    Schema.NullOr(
      Schema.Struct({
        /** How long it may run, in milliseconds. */
        executionTimeout: limit,
        /** How long it may take from now on, in milliseconds. */
        ttl: limit,
      }),
    ),
  ),
});
export type JobRequest = typeof JobRequest.Type;

/** What a client gets to know of its job. All keys are there that clients require, in every state. */
export const JobView = Schema.Struct({
  id: Schema.String,
  status: JobStatus,
  /** From its arrival to its start, in milliseconds. */
  delayTime: Schema.Int,
  /** From its start to its end, in milliseconds. */
  executionTime: Schema.Int,
  workerId: Schema.String,
  retries: Schema.Int,
  /** The result; while it runs, its progress. */
  output: Schema.optionalKey(Schema.Json),
  error: Schema.optionalKey(Schema.Json),
});
export type JobView = typeof JobView.Type;
