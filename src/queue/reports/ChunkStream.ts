import { Cause, Duration, Effect, Fiber, Queue, Result, Scope } from "effect";

import type { EncodedBody } from "../../domain/EncodedBody.ts";
import { MAX_CHUNK_BYTES } from "../../domain/EncodedResponse.ts";
import { backoff } from "../../platform/timing/Backoff.ts";
import type { JobQueue } from "../JobQueue.ts";

/** The maximum bytes of values that wait to be sent. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;

/** Retries for one value: so few that the pauses do not reach the longest one. */
const RETRIES = 4;
const RETRY_PAUSES = backoff(Duration.millis(250), Duration.seconds(30));

/** The timeout of one try. */
const SEND_TIMEOUT = Duration.seconds(20);

/** How long the result waits until the values are sent. */
const END_TIMEOUT = Duration.minutes(1);

/** The number of values that are not sent, by reason. */
interface Dropped {
  readonly large: number;
  readonly slow: number;
  readonly rejected: number;
}

const NONE_DROPPED: Dropped = { large: 0, slow: 0, rejected: 0 };

const logDropped = ({ large, slow, rejected }: Dropped, offered: number) => {
  const reasons = [
    ...(large > 0 ? [`${large} above 1 MB or not encodable`] : []),
    ...(slow > 0 ? [`${slow} because RunPod was too slow`] : []),
    ...(rejected > 0 ? [`${rejected} rejected by RunPod`] : []),
  ];
  if (reasons.length === 0) return Effect.void;
  return Effect.logWarning(
    `${large + slow + rejected} of ${offered} values were dropped from the stream: ${reasons.join(", ")}. The result contains all values.`,
  );
};

/** Sends the values of one job's generator to RunPod. */
export interface ChunkStream {
  /** Enqueues a value of a handler's stream; never waits. */
  readonly offer: (value: unknown) => void;
  /** The same for an encoded value; undefined stands for a value that is too large. */
  readonly offerEncoded: (value: EncodedBody | undefined) => void;
  /** Whether any value was offered. */
  readonly isUsed: () => boolean;
  /** Waits until all values are sent or dropped, with a timeout. */
  readonly end: Effect.Effect<void>;
}

/**
 * Sends values in order, one at a time. A slow RunPod never slows down the generator: values that do not fit into the
 * buffer are dropped and counted in the log. The result contains all values anyway.
 */
export const chunkStream = Effect.fnUntraced(function* (
  queue: JobQueue["Service"],
  jobId: string,
): Effect.fn.Return<ChunkStream, never, Scope.Scope> {
  const waiting = yield* Queue.unbounded<Uint8Array, Cause.Done>();
  let bytes = 0;
  let offered = 0;
  let dropped = NONE_DROPPED;
  const drop = (reason: keyof Dropped, count = 1): void => {
    dropped = { ...dropped, [reason]: dropped[reason] + count };
  };

  const send = (body: Uint8Array) =>
    queue.chunk(jobId, body, SEND_TIMEOUT).pipe(
      Effect.retry({
        while: (error) => error.isRetryable,
        schedule: RETRY_PAUSES,
        times: RETRIES,
      }),
      Effect.catch((error) => {
        drop("rejected");
        return Effect.logDebug(`Could not send a value of the stream: ${error.message}`);
      }),
      Effect.ensuring(Effect.sync(() => (bytes -= body.length))),
    );

  const sending = yield* Effect.forkScoped(
    Queue.take(waiting).pipe(Effect.flatMap(send), Effect.forever, Effect.ignoreCause),
  );

  const offerBody = (body: Uint8Array | undefined): void => {
    offered += 1;
    if (body === undefined || body.length > MAX_CHUNK_BYTES) {
      drop("large");
    } else if (bytes + body.length > MAX_WAITING_BYTES) {
      drop("slow");
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
      drop("slow", Queue.sizeUnsafe(waiting));
      yield* Fiber.interrupt(sending);
    }
    yield* logDropped(dropped, offered);
    dropped = NONE_DROPPED;
  });

  return {
    offer,
    offerEncoded: (value) => offerBody(value?.toChunk()),
    isUsed: () => offered > 0,
    end,
  };
});
