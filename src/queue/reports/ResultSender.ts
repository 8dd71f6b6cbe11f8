import { Duration, Effect, Schedule } from "effect";

import { backoff } from "../../platform/timing/Backoff.ts";
import * as Setting from "../../settings/Setting.ts";
import { JobQueue } from "../JobQueue.ts";
import type { PostFailed } from "../runpod/RequestFailed.ts";
import { type JobResult, refusedBody } from "./JobResult.ts";
import { ResultStore } from "./ResultStore.ts";

const RESULT_RETRY = Setting.seconds({
  name: "WORKER_RESULT_RETRY",
  doc: "How long a result is sent again when RunPod does not take it; meanwhile the next jobs run.",
  minimum: Duration.zero,
  fallback: Duration.minutes(5),
});

/** The pauses between two tries. */
const FIRST_PAUSE = Duration.millis(500);
const LONGEST_PAUSE = Duration.seconds(30);

/**
 * The limit for one try is a share of the whole time for retries, within bounds, and more for large results: as much as
 * the slowest connection needs.
 */
const TRY_SHARE = 0.1;
const TRY_BOUNDS = { minimum: Duration.seconds(1), maximum: Duration.minutes(1) };
const MIN_BYTES_PER_SECOND = 1_000_000;

const megabytes = (bytes: number): string =>
  bytes < 100_000 ? `${bytes} bytes` : `${(bytes / 1e6).toFixed(1)} MB`;

/**
 * Makes two functions: one sends a result with retries, and one keeps a result that could not be sent or logs its loss.
 */
export const makeResultSender = Effect.gen(function* () {
  const queue = yield* JobQueue;
  const store = yield* ResultStore;
  const retryTime = yield* RESULT_RETRY.value;
  const pauses = backoff(FIRST_PAUSE, LONGEST_PAUSE).pipe(Schedule.upTo({ duration: retryTime }));
  const minimumTry = Duration.clamp(Duration.times(retryTime, TRY_SHARE), TRY_BOUNDS);

  const send = ({ jobId, body, isStream }: JobResult) => {
    const limit = Duration.sum(minimumTry, Duration.seconds(body.length / MIN_BYTES_PER_SECOND));
    return queue.complete(jobId, body, isStream, limit).pipe(
      Effect.tapError((error) =>
        error.isRetryable
          ? Effect.logWarning(`The result is not delivered yet: ${error.message}`)
          : Effect.void,
      ),
      Effect.retry({ while: (error) => error.isRetryable, schedule: pauses }),
    );
  };

  /** Keeps a result for the next start if it can; else it is lost. */
  const lose = Effect.fnUntraced(function* (result: JobResult, why: string) {
    const about = `The result of job ${result.jobId} (${megabytes(result.body.length)})`;
    yield* (yield* store.keep(result))
      ? Effect.logWarning(`${about} was not delivered and is kept for the next start: ${why}.`)
      : Effect.logError(`${about} is lost: ${why}.`);
  });

  const giveUp = (result: JobResult, error: PostFailed) =>
    lose(
      result,
      error.isRetryable
        ? `RunPod did not take it for ${Duration.toSeconds(retryTime)} seconds, and at last ${error.message}`
        : `RunPod does not want it any more (${error.message})`,
    );

  /** Sends a result, or an error in its place if RunPod refuses its content. */
  const deliver = (result: JobResult) =>
    send(result).pipe(
      Effect.catch((error) => {
        if (!error.isAboutContent) return giveUp(result, error);
        const body = refusedBody(error.status, result.body.length);
        return Effect.logError(
          `RunPod refused the result of job ${result.jobId} (${megabytes(result.body.length)}, ${error.message}); the client is told so`,
        ).pipe(
          Effect.andThen(send({ ...result, body })),
          Effect.catch((again) => giveUp(result, again)),
        );
      }),
    );

  return { deliver, lose };
});
