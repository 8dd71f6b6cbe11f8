import { Duration, Effect, Fiber, Option, Result, Schema, type Scope } from "effect";
import { HttpClient, HttpClientRequest, type HttpClientResponse } from "effect/http";

import { parseJson } from "../../domain/JsonLimits.ts";
import { TakeFailed, transportReason } from "./RequestFailed.ts";
import { NO_JOBS, parseTaken } from "./TakenJobs.ts";
import type { Webhooks } from "./Webhooks.ts";

/** The timeout of a poll, which RunPod holds open until there is a job. */
const POLL_TIMEOUT = Duration.seconds(90);

/** The timeout for reading the body of a response to a poll. */
const BODY_TIMEOUT = Duration.seconds(30);

const decodeStops = Schema.decodeUnknownOption(
  Schema.Struct({ jobsToStop: Schema.Array(Schema.String) }),
);

/**
 * Sends a request that RunPod holds open until it has something for the worker. Returns the response, whose body is not
 * read yet, or undefined if the poll timed out. An interruption aborts the request.
 */
const poll = (
  client: HttpClient.HttpClient,
  headers: Readonly<Record<string, string>>,
  url: Option.Option<string>,
) =>
  Option.match(url, {
    onNone: () => Effect.fail(new TakeFailed({ reason: "no URL is set" })),
    onSome: (target) =>
      client
        .execute(
          HttpClientRequest.get(target, {
            headers: { ...headers, "content-type": "application/json" },
          }),
        )
        .pipe(
          Effect.timeoutOrElse({ duration: POLL_TIMEOUT, orElse: () => Effect.void }),
          Effect.catchTag("HttpClientError", (error) =>
            Effect.fail(new TakeFailed({ reason: transportReason(error) })),
          ),
        ),
  });

/** Reads a body in a fiber that is not interrupted with the poll, since RunPod sends each job only once. */
const readBody = Effect.fnUntraced(function* (
  response: HttpClientResponse.HttpClientResponse,
  scope: Scope.Scope,
) {
  const reading = yield* Effect.forkIn(
    Effect.interruptible(
      response.text.pipe(
        Effect.timeout(BODY_TIMEOUT),
        Effect.mapError(() => new TakeFailed({ reason: "the response body is incomplete" })),
      ),
    ),
    scope,
  );
  return yield* Effect.flatten(Fiber.await(reading));
});

const idsIn = (body: string): ReadonlyArray<string> =>
  Option.match(decodeStops(Result.getOrUndefined(parseJson(Buffer.from(body)))), {
    onNone: () => [],
    onSome: ({ jobsToStop }) => jobsToStop,
  });

/** The polls of a worker. Bodies are read in `scope`, which is the scope of the queue. */
export const makePolls = (
  webhooks: Webhooks["Service"],
  client: HttpClient.HttpClient,
  headers: Readonly<Record<string, string>>,
  mask: (text: string) => string,
  scope: Scope.Scope,
) => {
  const take = Effect.fn("JobQueue.take")(
    function* (slots: number, isBusy: boolean) {
      const url = webhooks.take(slots, isBusy);
      const response = yield* Effect.interruptible(poll(client, headers, url));
      if (response === undefined) return NO_JOBS;
      const { status } = response;
      const body = yield* readBody(response, scope);
      if (status === 200) return parseTaken(Buffer.from(body), mask);
      // RunPod also responds with 400 while it scales workers.
      if (status === 204 || status === 400) return NO_JOBS;
      return yield* new TakeFailed({ status, reason: `HTTP ${status}` });
    },
    (effect) => Effect.uninterruptible(effect),
  );

  const stops = Effect.gen(function* () {
    const response = yield* poll(client, headers, webhooks.stop);
    if (response === undefined) return [];
    const { status } = response;
    const body = yield* readBody(response, scope);
    if (status === 200) return idsIn(body);
    if (status === 204) return [];
    return yield* new TakeFailed({ status, reason: `HTTP ${status}` });
  }).pipe(Effect.withSpan("JobQueue.stops"));

  return { take, stops };
};
