import { Cause, Duration, Effect, Fiber, Queue, Result, Scope } from "effect";

import { MAX_CHUNK_BYTES, type EncodedResponse } from "../../domain/EncodedResponse.ts";
import { backoff } from "../../platform/timing/Backoff.ts";
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

/** The numbers of values that are not sent, by the reason. */
interface LeftOut {
  readonly large: number;
  readonly late: number;
  readonly refused: number;
}

const NONE_LEFT_OUT: LeftOut = { large: 0, late: 0, refused: 0 };

const logLeftOut = ({ large, late, refused }: LeftOut, offered: number) => {
  const reasons = [
    ...(large > 0 ? [`${large} above 1 MB or not encodable`] : []),
    ...(late > 0 ? [`${late} because RunPod was too slow`] : []),
    ...(refused > 0 ? [`${refused} that RunPod did not take`] : []),
  ];
  if (reasons.length === 0) return Effect.void;
  return Effect.logWarning(
    `${large + late + refused} of ${offered} values were left out of the stream: ${reasons.join(", ")}. The result has all of them.`,
  );
};

/** Sends the values of one job's generator to RunPod. */
export interface ChunkStream {
  /** Queues a value of a handler's stream; never waits. */
  readonly offer: (value: unknown) => void;
  /** The same for a value of a function; undefined in place of a value that is too large. */
  readonly offerResponse: (response: EncodedResponse | undefined) => void;
  /** Whether there was any value. */
  readonly isUsed: () => boolean;
  /** Waits until all values are sent or given up, for a limited time. */
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
  let leftOut = NONE_LEFT_OUT;
  const leaveOut = (reason: keyof LeftOut, count = 1): void => {
    leftOut = { ...leftOut, [reason]: leftOut[reason] + count };
  };

  const send = (body: Uint8Array) =>
    queue.chunk(jobId, body, SEND_TIMEOUT).pipe(
      Effect.retry({
        while: (error) => error.isRetryable,
        schedule: RETRY_PAUSES,
        times: RETRIES,
      }),
      Effect.catch((error) => {
        leaveOut("refused");
        return Effect.logDebug(`A value of the stream was not taken: ${error.message}`);
      }),
      Effect.ensuring(Effect.sync(() => (bytes -= body.length))),
    );

  const sending = yield* Effect.forkScoped(
    Queue.take(waiting).pipe(Effect.flatMap(send), Effect.forever, Effect.ignoreCause),
  );

  const offerBody = (body: Uint8Array | undefined): void => {
    offered += 1;
    if (body === undefined || body.length > MAX_CHUNK_BYTES) {
      leaveOut("large");
    } else if (bytes + body.length > MAX_WAITING_BYTES) {
      leaveOut("late");
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
      leaveOut("late", Queue.sizeUnsafe(waiting));
      yield* Fiber.interrupt(sending);
    }
    yield* logLeftOut(leftOut, offered);
    leftOut = NONE_LEFT_OUT;
  });

  return {
    offer,
    offerResponse: (response) => offerBody(response?.toJson('{"output":', "}")),
    isUsed: () => offered > 0,
    end,
  };
});
