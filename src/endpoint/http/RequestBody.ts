import {
  type ByteSize,
  Cause,
  Context,
  Duration,
  Effect,
  Option,
  Result,
  Schema,
  Semaphore,
  Stream,
} from "effect";
import { HttpServerRequest, HttpServerResponse } from "effect/http";

import { checkJson, textOf } from "../../domain/JsonLimits.ts";

const MIB = 1024 * 1024;

/** The memory of a request besides its body, so that many small ones count too. */
const OVERHEAD_BYTES = 4096;

/** The longest pause within a body, and the longest time for a whole body. */
const MAX_PAUSE = "20 seconds";
const MAX_DURATION = "2 minutes";

/** The most bytes of a refused body that are still read. */
const MAX_DISCARDED_BYTES = 64 * MIB;

/** When a client may try again whose request found no room. */
const RETRY_AFTER = Duration.seconds(5);

/** The memory, in bytes, for requests that are received, wait or run. */
export interface RequestBudget {
  readonly limit: number;
  /** Returns false when there is no room. */
  readonly reserve: (bytes: number) => Effect.Effect<boolean>;
  readonly release: (bytes: number) => Effect.Effect<void>;
}

export const makeRequestBudget = (limit: number): RequestBudget => {
  const room = Semaphore.makeUnsafe(limit);
  return {
    limit,
    reserve: (bytes) => room.takeIfAvailable(bytes),
    release: (bytes) => Effect.asVoid(room.release(bytes)),
  };
};

/** An eighth of the memory that this process may use, within bounds: a request exists up to four times while it is read. */
export const memoryShare = (): number => {
  const constrained = process.constrainedMemory();
  const memory = constrained > 0 ? constrained : Infinity;
  return Math.min(256 * MIB, Math.max(64 * MIB, Math.floor(memory / 8)));
};

/** The budget of this process, whatever the number of its ports. */
export const RequestBudget = Context.Reference<RequestBudget>(
  "worker-tetra/endpoint/RequestBudget",
  {
    defaultValue: () => makeRequestBudget(memoryShare()),
  },
);

/** A request is refused because of its body. */
class BodyRefused extends Schema.TaggedError<BodyRefused>()("BodyRefused", {
  status: Schema.Literals([400, 408, 413, 429]),
  reason: Schema.String,
}) {
  override get message(): string {
    return this.reason;
  }
}

const tooLarge = (limit: number) =>
  new BodyRefused({
    status: 413,
    reason: `The body is larger than the ${limit / MIB} MiB that this route takes, as on RunPod. Put large data on the volume or in a bucket and send its location.`,
  });

const overloaded = (limit: number) =>
  new BodyRefused({
    status: 429,
    reason: `Too many requests: ${Math.round(limit / MIB)} MiB are already waiting or running. Try again in ${Duration.toSeconds(RETRY_AFTER)} seconds, send less at a time, or put large data on the volume or in a bucket and send its location.`,
  });

const tooSlow = () =>
  new BodyRefused({
    status: 408,
    reason: `The body did not arrive in time: it must not pause for ${MAX_PAUSE} and must be complete within ${MAX_DURATION}. Send it again.`,
  });

const responseOf = ({ status, reason }: BodyRefused) =>
  HttpServerResponse.jsonUnsafe(
    { error: reason },
    {
      status,
      headers: {
        ...(status === 429 ? { "retry-after": String(Duration.toSeconds(RETRY_AFTER)) } : {}),
        // The rest of the body is not read.
        ...(status === 400 ? {} : { connection: "close" }),
      },
    },
  );

/** The response when there is no room for a job. */
export const overloadedResponse = Effect.map(RequestBudget, ({ limit }) =>
  responseOf(overloaded(limit)),
);

/** The bytes of a request, for which memory is reserved. */
export interface ReservedBody {
  readonly bytes: Uint8Array;
  /** Releases the memory. */
  readonly release: Effect.Effect<void>;
}

/** The body of the current request, for callers that keep it longer than the request lasts. */
const CurrentBody = Context.Reference<{
  readonly takeOver: Effect.Effect<Option.Option<ReservedBody>>;
}>("worker-tetra/endpoint/CurrentBody", { defaultValue: () => ({ takeOver: Effect.succeedNone }) });

/** Keeps the body of the current request; the caller must release it. */
export const takeOverBody = Effect.flatMap(CurrentBody, ({ takeOver }) => takeOver);

/** The memory that is reserved for the body of one request. */
const makeReservation = (budget: RequestBudget) => {
  let reserved = 0;

  /** Returns false when there is no room. */
  const reserve = (bytes: number) =>
    Effect.map(budget.reserve(bytes), (isReserved) => {
      if (isReserved) reserved += bytes;
      return isReserved;
    }).pipe(Effect.uninterruptible);

  /** Gives the reservation to a caller, which must release it by the returned effect. */
  const takeOver = (): Effect.Effect<void> => {
    const bytes = reserved;
    reserved = 0;
    return budget.release(bytes);
  };

  return { reserve, takeOver, release: Effect.suspend(takeOver) };
};

type Reservation = ReturnType<typeof makeReservation>;

/** Receives the parts of a body. Reserves memory for bytes that have arrived, not for those that a client announces. */
const receiveBody = Effect.fnUntraced(function* (
  request: HttpServerRequest.HttpServerRequest,
  limit: number,
  budget: RequestBudget,
  { reserve, release }: Reservation,
) {
  const { "content-length": length = "0", expect } = request.headers;
  const declared = Number(length);
  const parts: Array<Uint8Array> = [];
  let received = 0;
  let discarded = 0;
  let refusal: BodyRefused | undefined;
  if (declared > limit) refusal = tooLarge(limit);
  else if (!(yield* reserve(OVERHEAD_BYTES))) refusal = overloaded(budget.limit);
  const isTooLong = declared > limit + MAX_DISCARDED_BYTES;
  if (refusal !== undefined && (expect !== undefined || isTooLong)) return yield* refusal;

  const refuse = (reason: BodyRefused) => {
    refusal = reason;
    parts.length = 0;
    return release;
  };

  const keep = Effect.fnUntraced(function* (part: Uint8Array) {
    parts.push(part);
    received += part.length;
    if (received > limit) return yield* refuse(tooLarge(limit));
    if (!(yield* reserve(part.length))) yield* refuse(overloaded(budget.limit));
  });

  yield* request.stream.pipe(
    Stream.timeoutOrElse({
      duration: MAX_PAUSE,
      orElse: () => Stream.fail(refusal ?? tooSlow()),
    }),
    Stream.runForEach((part) => {
      if (refusal === undefined) return keep(part);
      // A refused body is read to its end: most clients read the response only after they have sent everything.
      discarded += part.length;
      return discarded > MAX_DISCARDED_BYTES ? Effect.fail(refusal) : Effect.void;
    }),
    Effect.timeoutOrElse({ duration: MAX_DURATION, orElse: () => Effect.fail(tooSlow()) }),
  );
  if (refusal !== undefined) return yield* refusal;
  return parts;
});

/** Reads the body of one request on demand, and lets a handler keep it. */
const makeReader = (
  request: HttpServerRequest.HttpServerRequest,
  limit: number,
  budget: RequestBudget,
) => {
  const reservation = makeReservation(budget);
  let bytes: Uint8Array = new Uint8Array();

  const read = Effect.gen(function* () {
    // Yields to other fibers between steps that take milliseconds for each 10 MB.
    bytes = Buffer.concat(yield* receiveBody(request, limit, budget, reservation));
    yield* Effect.yieldNow;
    const checked = checkJson(bytes);
    if (Result.isFailure(checked)) {
      return yield* new BodyRefused({ status: 400, reason: checked.failure.message });
    }
    yield* Effect.yieldNow;
    return textOf(bytes);
  });

  const takeOver = Effect.sync(() =>
    Option.some<ReservedBody>({ bytes, release: reservation.takeOver() }),
  );

  return { read, takeOver, release: reservation.release };
};

/** The request, except that its text is read in another way; also where a router makes a shorter path of it. */
const withText = <E>(
  request: HttpServerRequest.HttpServerRequest,
  text: Effect.Effect<string, E>,
): HttpServerRequest.HttpServerRequest => {
  const modify: typeof request.modify = (options) => withText(request.modify(options), text);
  return Object.create(request, { text: { value: text }, modify: { value: modify } });
};

/**
 * Runs a handler whose request has a JSON body within limits: of its size, of the bytes of all requests together, of
 * time, and of depth and number of values. The body is read when the handler asks for it, so not for unknown routes.
 */
export const withLimitedBody = <E, R>(
  handled: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>,
  limit: ByteSize.ByteSize,
) =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest;
    const { read, release, takeOver } = makeReader(request, Number(limit), yield* RequestBudget);
    return yield* handled.pipe(
      Effect.provideService(HttpServerRequest.HttpServerRequest, withText(request, read)),
      Effect.provideService(CurrentBody, { takeOver }),
      Effect.catchCause((cause) => {
        const error = Cause.squash(cause);
        return error instanceof BodyRefused
          ? Effect.succeed(responseOf(error))
          : Effect.failCause(cause);
      }),
      Effect.ensuring(release),
    );
  });
