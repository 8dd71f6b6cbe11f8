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

/** Whether a job with this status has ended. */
export const isFinal = (status: JobStatus): boolean =>
  status !== "IN_QUEUE" && status !== "IN_PROGRESS";

const milliseconds = Schema.optionalKey(Schema.NullOr(Schema.Finite));

/** A job as a client submits it; other keys are ignored. */
export const JobRequest = Schema.Struct({
  /** If it is absent or empty, the job fails. */
  input: Schema.optionalKey(Schema.Json),
  /** The URL that the finished job is posted to. */
  webhook: Schema.optionalKey(Schema.NullOr(Schema.String)),
  policy: Schema.optionalKey(
    Schema.NullOr(
      Schema.Struct({
        /** How long the job may run, in milliseconds. */
        executionTimeout: milliseconds,
        /** How long the job may be queued and run in all, in milliseconds. */
        ttl: milliseconds,
      }),
    ),
  ),
});
export type JobRequest = typeof JobRequest.Type;

/** A job as clients see it, with the keys that they require in every state. */
export const JobView = Schema.Struct({
  id: Schema.String,
  status: JobStatus,
  /** The time in the queue, in milliseconds. */
  delayTime: Schema.Int,
  /** The running time, in milliseconds. */
  executionTime: Schema.Int,
  workerId: Schema.String,
  retries: Schema.Int,
  /** The result; while the job runs, its progress. */
  output: Schema.optionalKey(Schema.Json),
  error: Schema.optionalKey(Schema.Json),
});
export type JobView = typeof JobView.Type;
