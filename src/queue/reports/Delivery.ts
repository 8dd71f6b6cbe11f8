import {
  Cause,
  Context,
  Duration,
  Effect,
  FiberSet,
  Latch,
  Layer,
  Option,
  Schedule,
  Semaphore,
} from "effect";

import { backoff } from "../../platform/Backoff.ts";
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

/** The most bytes of results that wait for delivery; above this, a job keeps its slot until there is room. */
const MAX_WAITING_BYTES = 256 * 1024 * 1024;

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

/** Brings results to the service, whatever it takes, while their jobs' slots are free already. */
export class Delivery extends Context.Service<
  Delivery,
  {
    /**
     * Accepts a result at once, and returns when there is room for it, so that its job keeps its slot until then.
     * The result is sent after `before`, with retries while the service fails; `finished` runs when it was
     * delivered, kept or lost (which is logged). Interrupting the caller does not affect the delivery.
     */
    readonly accept: (
      result: JobResult,
      before: Effect.Effect<void>,
      finished: Effect.Effect<void>,
    ) => Effect.Effect<void>;
    /** Sends what an earlier worker could not. */
    readonly resume: Effect.Effect<void>;
    /** Until nothing waits. */
    readonly idle: Effect.Effect<void>;
  }
>()("worker-tetra/queue/reports/Delivery") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const queue = yield* JobQueue;
      const store = yield* ResultStore;
      const retryTime = yield* RESULT_RETRY.value;
      const room = Semaphore.makeUnsafe(MAX_WAITING_BYTES);
      const sending = yield* FiberSet.make<void>();

      const pauses = backoff(FIRST_PAUSE, LONGEST_PAUSE).pipe(
        Schedule.upTo({ duration: retryTime }),
      );
      const minimumTry = Duration.clamp(Duration.times(retryTime, TRY_SHARE), TRY_BOUNDS);

      const send = ({ jobId, body, isStream }: JobResult) => {
        const limit = Duration.sum(
          minimumTry,
          Duration.seconds(body.length / MIN_BYTES_PER_SECOND),
        );
        return queue.complete(jobId, body, isStream, limit).pipe(
          Effect.tapError((error) =>
            error.isRetryable
              ? Effect.logWarning(`The result is not delivered yet: ${error.message}`)
              : Effect.void,
          ),
          Effect.retry({ while: (error) => error.isRetryable, schedule: pauses }),
        );
      };

      const lose = Effect.fnUntraced(function* (result: JobResult, why: string) {
        const about = `The result of job ${result.jobId} (${megabytes(result.body.length)})`;
        yield* (yield* store.keep(result))
          ? Effect.logWarning(`${about} was not delivered and is kept for the next start: ${why}.`)
          : Effect.logError(`${about} is lost: ${why}.`);
      });

      const give = (result: JobResult, error: PostFailed) =>
        lose(
          result,
          error.isRetryable
            ? `RunPod did not take it for ${Duration.toSeconds(retryTime)} seconds, and at last ${error.message}`
            : `RunPod does not want it any more (${error.message})`,
        );

      const deliver = (result: JobResult) =>
        send(result).pipe(
          Effect.catch((error) => {
            if (!error.isAboutContent) return give(result, error);
            const body = refusedBody(error.status, result.body.length);
            return Effect.logError(
              `RunPod refused the result of job ${result.jobId} (${megabytes(result.body.length)}, ${error.message}); the client is told so`,
            ).pipe(
              Effect.andThen(send({ ...result, body })),
              Effect.catch((again) => give(result, again)),
            );
          }),
        );

      /** Whatever ends a delivery early, the result is kept or its loss is logged. */
      const deliverOrLose = (result: JobResult, work: Effect.Effect<void>) =>
        Effect.onError(work, (cause) =>
          lose(
            result,
            Cause.hasInterruptsOnly(cause)
              ? "the worker ended before RunPod took it"
              : `sending it failed (${String(Cause.squash(cause))})`,
          ),
        );

      const accept = Effect.fnUntraced(function* (
        result: JobResult,
        before: Effect.Effect<void>,
        finished: Effect.Effect<void>,
      ) {
        const hasRoom = yield* Latch.make();
        const work = hasRoom.open.pipe(
          Effect.andThen(before),
          Effect.andThen(deliver(result)),
          room.withPermits(Math.min(result.body.length, MAX_WAITING_BYTES)),
          Effect.interruptible,
        );
        // Begins uninterruptible, so that an interruption before its first step loses nothing either.
        const sender = yield* deliverOrLose(result, work).pipe(
          Effect.ensuring(Effect.andThen(hasRoom.open, finished)),
          Effect.annotateLogs({ requestId: result.jobId }),
          Effect.forkDetach({ uninterruptible: true }),
        );
        yield* FiberSet.add(sending, sender);
        yield* Effect.interruptible(hasRoom.await);
      }, Effect.uninterruptible);

      /** One at a time, when there is room: together they may be larger than the memory. */
      const resumeOne = Effect.fnUntraced(function* (
        load: Effect.Effect<Option.Option<JobResult>>,
      ) {
        const result = yield* load;
        if (Option.isNone(result)) return;
        const { jobId } = result.value;
        yield* Effect.logInfo(`Sending the result of job ${jobId}, kept by an earlier worker`);
        yield* accept(result.value, Effect.void, Effect.void);
        // It is on no disk from when it is loaded until it is accepted.
      }, Effect.uninterruptible);

      return Delivery.of({
        accept,
        resume: Effect.gen(function* () {
          for (const load of yield* store.kept) yield* resumeOne(load);
        }),
        idle: FiberSet.awaitEmpty(sending),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([JobQueue.layer, ResultStore.layer]));
}
