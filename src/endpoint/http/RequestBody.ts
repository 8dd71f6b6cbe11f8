import {
  type ByteSize,
  Cause,
  Context,
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

/** What a request costs besides its bytes, so that many small ones count too. */
const OVERHEAD = 4096;

/** The longest pause within a body, and the longest time for a whole body. */
const MAX_PAUSE = "20 seconds";
const MAX_DURATION = "2 minutes";

/** The most bytes of a refused body that are still read. */
const MAX_DISCARDED = 64 * MIB;

/** When a client without room may try again, in seconds. */
const RETRY_AFTER = 5;

/** Bytes of requests that are being received, wait, or are worked on. */
export interface RequestBudget {
  readonly limit: number;
  /** False when there is no room for so many. */
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

/** A request that is not carried out because of its body. */
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

/** Too many bytes of requests are here already. */
const overloaded = (limit: number) =>
  new BodyRefused({
    status: 429,
    reason: `Too many requests: ${Math.round(limit / MIB)} MiB are already waiting or running. Try again in ${RETRY_AFTER} seconds, send less at a time, or put large data on the volume or in a bucket and send its location.`,
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
        ...(status === 429 ? { "retry-after": String(RETRY_AFTER) } : {}),
        // What is left of the body is not read.
        ...(status === 400 ? {} : { connection: "close" }),
      },
    },
  );

/** The answer where there is no room for a job. */
export const overloadedResponse = Effect.map(RequestBudget, ({ limit }) =>
  responseOf(overloaded(limit)),
);

/** The bytes of a request with the room that they have. */
export interface HeldBody {
  readonly bytes: Uint8Array;
  /** Gives the room back. */
  readonly release: Effect.Effect<void>;
}

/** The body of the current request, for callers that keep it longer than the request lasts. */
const CurrentBody = Context.Reference<{
  readonly takeOver: Effect.Effect<Option.Option<HeldBody>>;
}>("worker-tetra/endpoint/CurrentBody", { defaultValue: () => ({ takeOver: Effect.succeedNone }) });

/** Keeps the body of the current request; the caller must release it. */
export const takeOverBody = Effect.flatMap(CurrentBody, ({ takeOver }) => takeOver);

const makeReader = (
  request: HttpServerRequest.HttpServerRequest,
  limit: number,
  budget: RequestBudget,
) => {
  let held = 0;
  let bytes: Uint8Array = new Uint8Array();
  let parts: Array<Uint8Array> = [];

  const release = Effect.suspend(() => {
    const amount = held;
    held = 0;
    return budget.release(amount);
  });

  /** Reserves room only for bytes that have arrived, not for those that a client announces. */
  const reserve = (amount: number) =>
    Effect.map(budget.reserve(amount), (isReserved) => {
      if (isReserved) held += amount;
      return isReserved ? undefined : overloaded(budget.limit);
    }).pipe(Effect.uninterruptible);

  /** Adds a part of the body; returns why the body is refused, if it is. */
  const addPart = (part: Uint8Array) => {
    parts.push(part);
    return held - OVERHEAD + part.length > limit
      ? Effect.succeed(tooLarge(limit))
      : reserve(part.length);
  };

  /** Reads a refused body to its end: most clients read the response only after they have sent everything. */
  const receive = Effect.fnUntraced(function* () {
    const { "content-length": length = "0", expect } = request.headers;
    const declared = Number(length);
    let refusal = declared > limit ? tooLarge(limit) : yield* reserve(OVERHEAD);
    if (refusal !== undefined && (expect !== undefined || declared > limit + MAX_DISCARDED)) {
      return refusal;
    }
    let discarded = 0;
    yield* request.stream.pipe(
      Stream.timeoutOrElse({
        duration: MAX_PAUSE,
        orElse: () => Stream.fail(refusal ?? tooSlow()),
      }),
      Stream.runForEach((part) => {
        if (refusal !== undefined) {
          discarded += part.length;
          return discarded > MAX_DISCARDED ? Effect.fail(refusal) : Effect.void;
        }
        return Effect.flatMap(addPart(part), (found) => {
          refusal = found;
          if (found === undefined) return Effect.void;
          parts = [];
          return release;
        });
      }),
      Effect.timeoutOrElse({ duration: MAX_DURATION, orElse: () => Effect.fail(tooSlow()) }),
    );
    return refusal;
  });

  const read = Effect.gen(function* () {
    const refusal = yield* receive();
    if (refusal !== undefined) return yield* refusal;
    // Yields to other fibers between steps that take milliseconds for each 10 MB.
    bytes = Buffer.concat(parts);
    parts = [];
    yield* Effect.yieldNow;
    const checked = checkJson(bytes);
    if (Result.isFailure(checked)) {
      return yield* new BodyRefused({ status: 400, reason: checked.failure.message });
    }
    yield* Effect.yieldNow;
    return textOf(bytes);
  });

  const takeOver = Effect.sync(() => {
    const amount = held;
    held = 0;
    return Option.some<HeldBody>({ bytes, release: budget.release(amount) });
  });
  return { read, release, takeOver };
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
