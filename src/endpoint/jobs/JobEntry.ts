import { Duration, Effect } from "effect";

import type { JobRequest, JobStatus } from "../../domain/EndpointJob.ts";
import type { StoredJob } from "../store/StoredJob.ts";
import { Changes } from "./Changes.ts";
import { SentResult } from "./LocalJob.ts";
import { StreamBuffer } from "./StreamBuffer.ts";

/** RunPod's defaults for the time that a job may run, and for its total time since it was submitted. */
const EXECUTION_TIMEOUT = Duration.minutes(10);
const TTL = Duration.hours(24);

/** How long a result is kept, as on RunPod. */
export const RETENTION = Duration.minutes(30);

/**
 * A job of a local queue; only `JobTable` changes it. Requests and results stay JSON texts, since parsed they may take
 * a hundred times the memory. Times are Unix milliseconds.
 */
export interface JobEntry {
  readonly id: string;
  readonly webhook: string | undefined;
  readonly executionTimeout: Duration.Duration;
  readonly ttl: Duration.Duration;
  readonly submitted: number;
  status: JobStatus;
  started: number | undefined;
  ended: number | undefined;
  retries: number;
  /** The text that the client sent; empty once the job can't run again. */
  request: Uint8Array;
  /** Has `output` or `error`; while the job runs, its progress. */
  result: SentResult | undefined;
  readonly stream: StreamBuffer;
  /** Releases the memory that is reserved for the request while the job is queued or running. */
  release: Effect.Effect<void>;
  readonly changes: Changes;
}

export const entryOf = (
  { state, request, result }: StoredJob,
  { policy, webhook }: JobRequest,
  release: Effect.Effect<void>,
): JobEntry => ({
  id: state.id,
  webhook: webhook === null || webhook === "" ? undefined : webhook,
  executionTimeout: Duration.fromInputUnsafe(policy?.executionTimeout ?? EXECUTION_TIMEOUT),
  ttl: Duration.fromInputUnsafe(policy?.ttl ?? TTL),
  submitted: state.submitted,
  status: state.status,
  started: state.started ?? undefined,
  ended: state.ended ?? undefined,
  retries: state.retries,
  request,
  result: result === undefined ? undefined : SentResult.of(result),
  stream: new StreamBuffer(),
  release,
  changes: new Changes(),
});

/** The memory of a job in bytes. */
export const sizeOf = ({ request, result, stream }: JobEntry): number =>
  request.length + (result?.bytes.length ?? 0) + stream.size;

/** Whether a job with this status can be retried. */
export const canRunAgain = (status: JobStatus): boolean =>
  status === "FAILED" || status === "TIMED_OUT";

export const storedJobOf = (entry: JobEntry): StoredJob => {
  const { id, status, submitted, started, ended, retries, request, result } = entry;
  return {
    state: { id, status, submitted, started: started ?? null, ended: ended ?? null, retries },
    request,
    result: result?.bytes,
  };
};

/** Releases the memory that is reserved for the request, once. */
export const releaseRequest = (entry: JobEntry): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { release } = entry;
    entry.release = Effect.void;
    return release;
  });
