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

/** The memory of a request besides its body; it makes many small requests count too. */
const OVERHEAD_BYTES = 4096;

/** The timeouts for the next part of a body, and for the whole body. */
const MAX_PAUSE = "20 seconds";
const MAX_DURATION = "2 minutes";

/** The maximum bytes that are still read of a rejected body. */
const MAX_DISCARDED_BYTES = 64 * MIB;

/** When a client may try again after the memory limit was reached. */
const RETRY_AFTER = Duration.seconds(5);

/** The memory, in bytes, for requests that are being received, queued or running. */
export interface RequestBudget {
  readonly limit: number;
  /** Returns false if the limit is reached. */
  readonly reserve: (bytes: number) => Effect.Effect<boolean>;
  readonly release: (bytes: number) => Effect.Effect<void>;
}

export const makeRequestBudget = (limit: number): RequestBudget => {
  const capacity = Semaphore.makeUnsafe(limit);
  return {
    limit,
    reserve: (bytes) => capacity.takeIfAvailable(bytes),
    release: (bytes) => Effect.asVoid(capacity.release(bytes)),
  };
};

/**
 * An eighth of the memory limit of this process, within bounds: up to four copies of a request exist while it is read.
 */
export const memoryShare = (): number => {
  const constrained = process.constrainedMemory();
  const memory = constrained > 0 ? constrained : Infinity;
  return Math.min(256 * MIB, Math.max(64 * MIB, Math.floor(memory / 8)));
};

/** The budget of this process, shared by all its ports. */
export const RequestBudget = Context.Reference<RequestBudget>(
  "worker-tetra/endpoint/RequestBudget",
  {
    defaultValue: () => makeRequestBudget(memoryShare()),
  },
);

/** A request is rejected because of its body. */
class BodyRejected extends Schema.TaggedError<BodyRejected>()("BodyRejected", {
  status: Schema.Literals([400, 408, 413, 429]),
  reason: Schema.String,
}) {
  override get message(): string {
    return this.reason;
  }
}

const tooLarge = (limit: number) =>
  new BodyRejected({
    status: 413,
    reason: `The request body is larger than the limit of ${limit / MIB} MiB for this route, the same as on RunPod. Put large data on the volume or in a bucket and send its location.`,
  });

const overloaded = (limit: number) =>
  new BodyRejected({
    status: 429,
    reason: `Too many requests: ${Math.round(limit / MIB)} MiB are already waiting or running. Try again in ${Duration.toSeconds(RETRY_AFTER)} seconds, send less at a time, or put large data on the volume or in a bucket and send its location.`,
  });

const tooSlow = () =>
  new BodyRejected({
    status: 408,
    reason: `Timeout while receiving the request body: it must not pause for ${MAX_PAUSE} and must be complete within ${MAX_DURATION}. Send it again.`,
  });

const responseOf = ({ status, reason }: BodyRejected) =>
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

/** The response when the memory limit is reached. */
export const overloadedResponse = Effect.map(RequestBudget, ({ limit }) =>
  responseOf(overloaded(limit)),
);

/** The bytes of a request, with reserved memory. */
export interface ReservedBody {
  readonly bytes: Uint8Array;
  readonly release: Effect.Effect<void>;
}

/** The body of the current request, once its text was read. */
const CurrentBody = Context.Reference<{
  readonly bytes: Effect.Effect<Option.Option<Uint8Array>>;
  /** For callers that need the body after the request. */
  readonly takeOver: Effect.Effect<Option.Option<ReservedBody>>;
}>("worker-tetra/endpoint/CurrentBody", {
  defaultValue: () => ({ bytes: Effect.succeedNone, takeOver: Effect.succeedNone }),
});

/** The bytes of the body of the current request, which its handler must not keep. */
export const bodyBytes = Effect.flatMap(CurrentBody, ({ bytes }) => bytes);

/** Takes over the body of the current request; the caller must release it. */
export const takeOverBody = Effect.flatMap(CurrentBody, ({ takeOver }) => takeOver);

/** The memory that is reserved for the body of one request. */
const makeReservation = (budget: RequestBudget) => {
  let reserved = 0;

  /** Returns false if the limit is reached. */
  const reserve = (bytes: number) =>
    Effect.map(budget.reserve(bytes), (isReserved) => {
      if (isReserved) reserved += bytes;
      return isReserved;
    }).pipe(Effect.uninterruptible);

  /** Passes the reservation to the caller, which must run the returned effect to release it. */
  const takeOver = (): Effect.Effect<void> => {
    const bytes = reserved;
    reserved = 0;
    return budget.release(bytes);
  };

  return { reserve, takeOver, release: Effect.suspend(takeOver) };
};

type Reservation = ReturnType<typeof makeReservation>;

/** Receives the parts of a body. Reserves memory for the bytes that arrive, not for the announced Content-Length. */
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
  let rejection: BodyRejected | undefined;
  if (declared > limit) rejection = tooLarge(limit);
  else if (!(yield* reserve(OVERHEAD_BYTES))) rejection = overloaded(budget.limit);
  const isTooLong = declared > limit + MAX_DISCARDED_BYTES;
  if (rejection !== undefined && (expect !== undefined || isTooLong)) return yield* rejection;

  const reject = (reason: BodyRejected) => {
    rejection = reason;
    parts.length = 0;
    return release;
  };

  const keep = Effect.fnUntraced(function* (part: Uint8Array) {
    parts.push(part);
    received += part.length;
    if (received > limit) return yield* reject(tooLarge(limit));
    if (!(yield* reserve(part.length))) yield* reject(overloaded(budget.limit));
  });

  yield* request.stream.pipe(
    Stream.timeoutOrElse({
      duration: MAX_PAUSE,
      orElse: () => Stream.fail(rejection ?? tooSlow()),
    }),
    Stream.runForEach((part) => {
      if (rejection === undefined) return keep(part);
      // A rejected body is read to its end: most clients read the response only after they have sent everything.
      discarded += part.length;
      return discarded > MAX_DISCARDED_BYTES ? Effect.fail(rejection) : Effect.void;
    }),
    Effect.timeoutOrElse({ duration: MAX_DURATION, orElse: () => Effect.fail(tooSlow()) }),
  );
  if (rejection !== undefined) return yield* rejection;
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
      return yield* new BodyRejected({ status: 400, reason: checked.failure.message });
    }
    yield* Effect.yieldNow;
    return textOf(bytes);
  });

  const received = Effect.sync(() => Option.some(bytes));

  const takeOver = Effect.sync(() =>
    Option.some<ReservedBody>({ bytes, release: reservation.takeOver() }),
  );

  return { read, received, takeOver, release: reservation.release };
};

/** The request with another way to read its text, also after a router has shortened its path. */
const withText = <E>(
  request: HttpServerRequest.HttpServerRequest,
  text: Effect.Effect<string, E>,
): HttpServerRequest.HttpServerRequest => {
  const modify: typeof request.modify = (options) => withText(request.modify(options), text);
  return Object.create(request, { text: { value: text }, modify: { value: modify } });
};

/**
 * Runs a handler with limits for the JSON body of its request: its size, the bytes of all requests together, the time,
 * and the depth and number of values. The body is only read when the handler reads it, so not for unknown routes.
 */
export const withLimitedBody = <E, R>(
  handled: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>,
  limit: ByteSize.ByteSize,
) =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest;
    const { read, received, release, takeOver } = makeReader(
      request,
      Number(limit),
      yield* RequestBudget,
    );
    return yield* handled.pipe(
      Effect.provideService(HttpServerRequest.HttpServerRequest, withText(request, read)),
      Effect.provideService(CurrentBody, { bytes: received, takeOver }),
      Effect.catchCause((cause) => {
        const error = Cause.squash(cause);
        return error instanceof BodyRejected
          ? Effect.succeed(responseOf(error))
          : Effect.failCause(cause);
      }),
      Effect.ensuring(release),
    );
  });
