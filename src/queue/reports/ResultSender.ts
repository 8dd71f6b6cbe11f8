import { Duration, Effect, Schedule } from "effect";

import { backoff } from "../../platform/timing/Backoff.ts";
import * as Setting from "../../settings/Setting.ts";
import { JobQueue } from "../JobQueue.ts";
import type { PostFailed } from "../runpod/RequestFailed.ts";
import { type JobResult, rejectedBody } from "./JobResult.ts";
import { ResultStore } from "./ResultStore.ts";

const RESULT_RETRY = Setting.seconds({
  name: "WORKER_RESULT_RETRY",
  doc: "Maximum time to retry sending a result that RunPod does not accept. Other jobs run meanwhile.",
  minimum: Duration.zero,
  fallback: Duration.minutes(5),
});

/** The pauses between tries. */
const FIRST_PAUSE = Duration.millis(500);
const LONGEST_PAUSE = Duration.seconds(30);

/**
 * The timeout of one try is a share of the whole time for retries, within bounds, plus the time that a slow connection
 * needs for the result.
 */
const TRY_SHARE = 0.1;
const TRY_BOUNDS = { minimum: Duration.seconds(1), maximum: Duration.minutes(1) };
const MIN_BYTES_PER_SECOND = 1_000_000;

const formatSize = (bytes: number): string =>
  bytes < 100_000 ? `${bytes} bytes` : `${(bytes / 1e6).toFixed(1)} MB`;

/**
 * Makes two functions: one sends a result with retries, the other stores a result that could not be sent, or logs its
 * loss.
 */
export const makeResultSender = Effect.gen(function* () {
  const queue = yield* JobQueue;
  const store = yield* ResultStore;
  const retryTime = yield* RESULT_RETRY.value;
  const pauses = backoff(FIRST_PAUSE, LONGEST_PAUSE).pipe(Schedule.upTo({ duration: retryTime }));
  const minimumTimeout = Duration.clamp(Duration.times(retryTime, TRY_SHARE), TRY_BOUNDS);

  const send = ({ jobId, body, isStream }: JobResult) => {
    const timeout = Duration.sum(
      minimumTimeout,
      Duration.seconds(body.length / MIN_BYTES_PER_SECOND),
    );
    return queue.complete(jobId, body, isStream, timeout).pipe(
      Effect.tapError((error) =>
        error.isRetryable
          ? Effect.logWarning(`Could not deliver the result yet: ${error.message}`)
          : Effect.void,
      ),
      Effect.retry({ while: (error) => error.isRetryable, schedule: pauses }),
    );
  };

  /** Stores a result for the next start; if there is no store or it fails, the result is lost. */
  const storeOrLose = Effect.fnUntraced(function* (result: JobResult, reason: string) {
    const about = `The result of job ${result.jobId} (${formatSize(result.body.length)})`;
    yield* (yield* store.keep(result))
      ? Effect.logWarning(`${about} was not delivered and is stored for the next start: ${reason}.`)
      : Effect.logError(`${about} is lost: ${reason}.`);
  });

  const giveUp = (result: JobResult, error: PostFailed) =>
    storeOrLose(
      result,
      error.isRetryable
        ? `RunPod did not accept it for ${Duration.toSeconds(retryTime)} seconds (last error: ${error.message})`
        : `RunPod no longer accepts it (${error.message})`,
    );

  /** Sends a result, or an error in its place if RunPod rejects its body. */
  const deliver = (result: JobResult) =>
    send(result).pipe(
      Effect.catch((error) => {
        if (!error.isAboutContent) return giveUp(result, error);
        const body = rejectedBody(error.status, result.body.length);
        return Effect.logError(
          `RunPod rejected the result of job ${result.jobId} (${formatSize(result.body.length)}, ${error.message}); sending an error instead`,
        ).pipe(
          Effect.andThen(send({ ...result, body })),
          Effect.catch((again) => giveUp(result, again)),
        );
      }),
    );

  return { deliver, storeOrLose };
});
