import { Cause, Duration, Effect, Fiber, Queue, Result, Scope } from "effect";

import { CHUNK_LIMIT, type FunctionAnswer } from "../../domain/FunctionAnswer.ts";
import { backoff } from "../../platform/Backoff.ts";
import type { JobQueue } from "../JobQueue.ts";

/** The most bytes of values that wait to be sent. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;

/** Tries to send one value after the first one; with so few of them the pauses do not reach the longest. */
const RETRIES = 4;
const RETRY_PAUSES = backoff(Duration.millis(250), Duration.seconds(30));

/** The limit for one try. */
const SEND_TIMEOUT = Duration.seconds(20);

/** How long the result waits for the values before it. */
const END_TIMEOUT = Duration.minutes(1);

/** The values of one job's generator on their way to the service. */
export interface ChunkStream {
  /** Sends a value when it is its turn; never waits. */
  readonly offer: (value: unknown) => void;
  /** The same for a value of a function; undefined stands for a value that is too large. */
  readonly offerAnswer: (answer: FunctionAnswer | undefined) => void;
  /** Whether there was any value. */
  readonly isUsed: () => boolean;
  /** Until all that was offered is sent, or has no hope. */
  readonly end: Effect.Effect<void>;
}

/**
 * Sends values in order, one at a time. A slow service never paces the generator: what does not fit is left out
 * and counted in the log, since the result has all values anyway.
 */
export const chunkStream = Effect.fnUntraced(function* (
  queue: JobQueue["Service"],
  jobId: string,
): Effect.fn.Return<ChunkStream, never, Scope.Scope> {
  const waiting = yield* Queue.unbounded<Uint8Array, Cause.Done>();
  let bytes = 0;
  let offered = 0;
  let left = { large: 0, late: 0, refused: 0 };

  const send = (body: Uint8Array) =>
    queue.chunk(jobId, body, SEND_TIMEOUT).pipe(
      Effect.retry({
        while: (error) => error.isRetryable,
        schedule: RETRY_PAUSES,
        times: RETRIES,
      }),
      Effect.catch((error) => {
        left.refused += 1;
        return Effect.logDebug(`A value of the stream was not taken: ${error.message}`);
      }),
      Effect.ensuring(Effect.sync(() => (bytes -= body.length))),
    );

  const sending = yield* Effect.forkScoped(
    Queue.take(waiting).pipe(Effect.flatMap(send), Effect.forever, Effect.ignoreCause),
  );

  const offerBody = (body: Uint8Array | undefined): void => {
    offered += 1;
    if (body === undefined || body.length > CHUNK_LIMIT) {
      left.large += 1;
    } else if (bytes + body.length > MAX_WAITING_BYTES) {
      left.late += 1;
    } else {
      bytes += body.length;
      Queue.offerUnsafe(waiting, body);
    }
  };

  const offer = (value: unknown): void =>
    offerBody(
      Result.getOrUndefined(Result.try(() => Buffer.from(JSON.stringify({ output: value })))),
    );

  const end = Effect.gen(function* () {
    Queue.endUnsafe(waiting);
    const done = yield* Effect.timeoutOption(Fiber.await(sending), END_TIMEOUT);
    if (done._tag === "None") {
      left.late += Queue.sizeUnsafe(waiting);
      yield* Fiber.interrupt(sending);
    }
    const { large, late, refused } = left;
    left = { large: 0, late: 0, refused: 0 };
    const reasons = [
      ...(large > 0 ? [`${large} above 1 MB or not encodable`] : []),
      ...(late > 0 ? [`${late} because RunPod was too slow`] : []),
      ...(refused > 0 ? [`${refused} that RunPod did not take`] : []),
    ];
    if (reasons.length === 0) return;
    yield* Effect.logWarning(
      `${large + late + refused} of ${offered} values were left out of the stream: ${reasons.join(", ")}. The result has all of them.`,
    );
  });

  return {
    offer,
    offerAnswer: (answer) => offerBody(answer?.toJson('{"output":', "}")),
    isUsed: () => offered > 0,
    end,
  };
});
