import { Schema } from "effect";

import { JobStatus } from "../../domain/EndpointJob.ts";

/** The state of a job of a local queue; times are Unix milliseconds. */
export const JobState = Schema.Struct({
  id: Schema.String.check(Schema.isPattern(/^[\w-]{1,100}$/)),
  status: JobStatus,
  submitted: Schema.Finite,
  started: Schema.NullOr(Schema.Finite),
  ended: Schema.NullOr(Schema.Finite),
  retries: Schema.Int,
});

/** A job of a local queue as it is stored. */
export interface StoredJob {
  readonly state: typeof JobState.Type;
  /** The JSON text of the request, unchanged; empty once the job can't run again. */
  readonly request: Uint8Array;
  /** A JSON text with `output` or `error`. */
  readonly result: Uint8Array | undefined;
}
