import { Schema } from "effect";

/** RunPod's states of a job. */
export const JobStatus = Schema.Literals([
  "IN_QUEUE",
  "IN_PROGRESS",
  "COMPLETED",
  "FAILED",
  "CANCELLED",
  "TIMED_OUT",
]);
export type JobStatus = typeof JobStatus.Type;

/** Whether a job in this state has ended. */
export const isFinal = (status: JobStatus): boolean =>
  status !== "IN_QUEUE" && status !== "IN_PROGRESS";

const limit = Schema.optionalKey(Schema.NullOr(Schema.Finite));

/** A job as a client submits it; it may have more keys than these. */
export const JobRequest = Schema.Struct({
  /** Absent or empty, the job fails with a message that says so. */
  input: Schema.optionalKey(Schema.Json),
  /** The address to which the finished job is posted. */
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

/** A job as clients see it, with all keys that they require in every state. */
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
