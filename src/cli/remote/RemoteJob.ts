import { Option, Schema } from "effect";

import { isFinal, JobStatus } from "../../domain/EndpointJob.ts";

/** A job in the responses of any RunPod endpoint. */
export const RemoteJob = Schema.Struct({
  id: Schema.String,
  status: Schema.String,
  delayTime: Schema.optionalKey(Schema.Finite),
  executionTime: Schema.optionalKey(Schema.Finite),
  output: Schema.optionalKey(Schema.Unknown),
  error: Schema.optionalKey(Schema.Unknown),
});
export type RemoteJob = typeof RemoteJob.Type;

const decodeStatus = Schema.decodeUnknownOption(JobStatus);

/** Whether a job has ended. An unknown status is not final. */
export const hasEnded = (status: string | undefined): boolean =>
  Option.exists(decodeStatus(status), isFinal);
