import { Context, Duration, Effect, Fiber, Layer, Option, Redacted, Result, Schema } from "effect";
import {
  HttpBody,
  HttpClient,
  type HttpClientError,
  HttpClientRequest,
  type HttpClientResponse,
} from "effect/http";

import manifest from "../../package.json" with { type: "json" };
import { Job } from "../domain/Job.ts";
import { elementsOf, parseJson, stringMember } from "../domain/JsonLimits.ts";
import { Environment } from "../settings/Environment.ts";
import { excerpt } from "../settings/Excerpt.ts";
import { Webhooks } from "./Webhooks.ts";

/** How long a poll may stay without a response; RunPod holds it open until there is a job. */
const POLL_TIMEOUT = Duration.seconds(90);

/** The limit for reading the body of a response to a poll. */
const BODY_TIMEOUT = Duration.seconds(30);

/** The most characters of an invalid job that are logged. */
const MAX_JOB_CHARACTERS = 200;

/** Jobs could not be asked for. */
export class TakeFailed extends Schema.TaggedError<TakeFailed>()("TakeFailed", {
  /** Absent when there was no answer at all. */
  status: Schema.optionalKey(Schema.Int),
  reason: Schema.String,
}) {
  override get message(): string {
    return this.status === 401 || this.status === 403
      ? `RunPod refuses this worker (${this.reason}). RUNPOD_AI_API_KEY or RUNPOD_WEBHOOK_GET_JOB is not right, or the endpoint was deleted.`
      : `RunPod could not be asked for jobs: ${this.reason}. It is tried again.`;
  }
}

/** Something about a job could not be sent. */
export class PostFailed extends Schema.TaggedError<PostFailed>()("PostFailed", {
  status: Schema.optionalKey(Schema.Int),
  reason: Schema.String,
}) {
  override get message(): string {
    return this.reason;
  }

  /** Whether the same bytes may be taken a little later. */
  get isRetryable(): boolean {
    const { status } = this;
    return (
      status === undefined || status >= 500 || status === 429 || status === 408 || status === 425
    );
  }

  /** Whether something else in their place may be taken: these were too many, or not understood. */
  get isAboutContent(): boolean {
    return this.status === 400 || this.status === 413 || this.status === 422;
  }
}

/** What is wrong with something that was handed out as a job. */
interface Unusable {
  readonly id: string | undefined;
  readonly problem: string;
}

/** What a take brought. */
export interface Taken {
  readonly jobs: ReadonlyArray<Job>;
  readonly unusable: ReadonlyArray<Unusable>;
}

const NOTHING: Taken = { jobs: [], unusable: [] };

const decodeJob = Schema.decodeUnknownOption(Job);
const decodeId = Schema.decodeUnknownOption(Schema.Struct({ id: Schema.NonEmptyString }));
const decodeStops = Schema.decodeUnknownOption(
  Schema.Struct({ jobsToStop: Schema.Array(Schema.String) }),
);

type Mask = (text: string) => string;

/** Jobs in the body of an answer, whatever it is. One that is too complex does not cost the others. */
const parseTaken = (body: Uint8Array, mask: Mask): Taken => {
  const parsed = parseJson(body);
  if (Result.isSuccess(parsed)) return jobsIn(parsed.success, mask);
  if (parsed.failure._tag === "JsonInvalid") return NOTHING;
  const parts = elementsOf(body).map((bytes): Taken => {
    const one = parseJson(bytes);
    if (Result.isSuccess(one)) return jobsIn(one.success, mask);
    if (one.failure._tag === "JsonInvalid") return NOTHING;
    return {
      jobs: [],
      unusable: [{ id: stringMember(bytes, "id"), problem: one.failure.message }],
    };
  });
  return {
    jobs: parts.flatMap(({ jobs }) => jobs),
    unusable: parts.flatMap(({ unusable }) => unusable),
  };
};

const jobsIn = (document: unknown, mask: Mask): Taken => {
  if (typeof document !== "object" || document === null) return NOTHING;
  const jobs: Array<Job> = [];
  const unusable: Array<Unusable> = [];
  for (const one of Array.isArray(document) ? document : [document]) {
    const job = decodeJob(one);
    if (Option.isSome(job)) {
      jobs.push(job.value);
      continue;
    }
    const id = Option.map(decodeId(one), (named) => named.id);
    const shown = excerpt(mask(JSON.stringify(one) ?? ""), MAX_JOB_CHARACTERS);
    unusable.push({
      id: Option.getOrUndefined(id),
      problem: `Received an invalid job from RunPod: ${shown}`,
    });
  }
  return { jobs, unusable };
};

/** Why there was no answer, in a few words. */
export const transportReason = ({ reason }: HttpClientError.HttpClientError): string => {
  const { cause } = reason;
  if (!(cause instanceof Error)) return reason._tag;
  return "code" in cause && typeof cause.code === "string"
    ? `${cause.message || cause.name} (${cause.code})`
    : cause.message || cause.name;
};

/** RunPod's queue: its wire, and nothing about when to use it. */
export class JobQueue extends Context.Service<
  JobQueue,
  {
    /**
     * Waits for jobs, at most so many. Interrupting it closes the poll; but where an answer has begun, it is
     * read first, so that nothing is lost that the service has given away.
     */
    readonly take: (slots: number, isBusy: boolean) => Effect.Effect<Taken, TakeFailed>;
    /** Waits for ids of jobs to stop; fails too where there is no such channel. */
    readonly stops: Effect.Effect<ReadonlyArray<string>, TakeFailed>;
    /** Sends the result of a job, or word of its progress. */
    readonly complete: (
      jobId: string,
      body: Uint8Array,
      isStream: boolean,
      limit: Duration.Duration,
    ) => Effect.Effect<void, PostFailed>;
    /** Sends one value of a generator. */
    readonly chunk: (
      jobId: string,
      body: Uint8Array,
      limit: Duration.Duration,
    ) => Effect.Effect<void, PostFailed>;
    /** Whether the service tells of jobs to stop. */
    readonly canStop: boolean;
    /** Whether the queue itself runs a job again that a worker did not finish: then that is not reported as failed. */
    readonly rerunsUnfinished: boolean;
    /** Whether chunks have an address. */
    readonly canStream: boolean;
    readonly ping: (
      parameters: Readonly<Record<string, string>>,
      limit: Duration.Duration,
    ) => Effect.Effect<void, PostFailed>;
  }
>()("worker-tetra/queue/JobQueue") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const webhooks = yield* Webhooks;
      const client = yield* HttpClient.HttpClient;
      const { mask } = yield* Environment;
      const scope = yield* Effect.scope;

      const headers = {
        ...(Option.isSome(webhooks.key)
          ? { authorization: Redacted.value(webhooks.key.value) }
          : {}),
        "user-agent": `worker-tetra/${manifest.version} (node ${process.versions.node})`,
      };

      /** An answer without its body; a poll is aborted when nobody waits for it any more. */
      const poll = (url: Option.Option<string>) =>
        Option.match(url, {
          onNone: () => Effect.fail(new TakeFailed({ reason: "there is no address for it" })),
          onSome: (address) =>
            client
              .execute(
                HttpClientRequest.get(address, {
                  headers: { ...headers, "content-type": "application/json" },
                }),
              )
              .pipe(
                Effect.timeoutOrElse({
                  duration: POLL_TIMEOUT,
                  orElse: () => Effect.void,
                }),
                Effect.catchTag("HttpClientError", (error) =>
                  Effect.fail(new TakeFailed({ reason: transportReason(error) })),
                ),
              ),
        });

      /** Reads a body in a fiber that goes on when the one that polls is interrupted. */
      const bodyOf = Effect.fnUntraced(function* (response: HttpClientResponse.HttpClientResponse) {
        const reading = yield* Effect.forkIn(
          Effect.interruptible(
            response.text.pipe(
              Effect.timeout(BODY_TIMEOUT),
              Effect.mapError(() => new TakeFailed({ reason: "an answer broke off" })),
            ),
          ),
          scope,
        );
        return yield* Effect.flatten(Fiber.await(reading));
      });

      const take = Effect.fn("JobQueue.take")(
        function* (slots: number, isBusy: boolean) {
          const response = yield* Effect.interruptible(poll(webhooks.take(slots, isBusy)));
          if (response === undefined) return NOTHING;
          const { status } = response;
          const body = yield* bodyOf(response);
          if (status === 200) return parseTaken(Buffer.from(body), mask);
          // 400 comes in ordinary life, when workers are put to sleep and woken.
          if (status === 204 || status === 400) return NOTHING;
          return yield* new TakeFailed({ status, reason: `it answered ${status}` });
        },
        (effect) => Effect.uninterruptible(effect),
      );

      const stops = Effect.gen(function* () {
        const response = yield* poll(webhooks.stop);
        if (response === undefined) return [];
        const { status } = response;
        const body = yield* bodyOf(response);
        if (status === 200) {
          return Option.match(decodeStops(Result.getOrUndefined(parseJson(Buffer.from(body)))), {
            onNone: (): ReadonlyArray<string> => [],
            onSome: ({ jobsToStop }) => jobsToStop,
          });
        }
        if (status === 204) return [];
        return yield* new TakeFailed({ status, reason: `it answered ${status}` });
      }).pipe(Effect.withSpan("JobQueue.stops"));

      /** Sends a request and reads nothing but its status. */
      const send = (request: HttpClientRequest.HttpClientRequest, limit: Duration.Duration) =>
        client.execute(request).pipe(
          Effect.flatMap((response) =>
            // The body is read so that the connection can be used again.
            Effect.as(Effect.ignore(response.arrayBuffer), response.status),
          ),
          Effect.catchTag("HttpClientError", (error) =>
            Effect.fail(new PostFailed({ reason: transportReason(error) })),
          ),
          Effect.timeoutOrElse({
            duration: limit,
            orElse: () =>
              Effect.fail(
                new PostFailed({
                  reason: `there was no answer within ${Duration.toSeconds(limit)} seconds`,
                }),
              ),
          }),
          Effect.flatMap((status) =>
            status >= 200 && status < 300
              ? Effect.void
              : Effect.fail(new PostFailed({ status, reason: `it answered ${status}` })),
          ),
        );

      const post = (
        url: Option.Option<string>,
        jobId: string,
        body: Uint8Array,
        limit: Duration.Duration,
      ): Effect.Effect<void, PostFailed> =>
        Option.match(url, {
          onNone: () =>
            Effect.fail(new PostFailed({ status: 404, reason: "there is no address for it" })),
          onSome: (address) =>
            send(
              HttpClientRequest.post(address, {
                headers: { ...headers, "x-request-id": jobId, charset: "utf-8" },
                // The service expects JSON under this name.
                body: HttpBody.uint8Array(body, "application/x-www-form-urlencoded"),
              }),
              limit,
            ),
        });

      return JobQueue.of({
        take,
        stops,
        complete: (jobId, body, isStream, limit) =>
          post(webhooks.result(jobId, isStream), jobId, body, limit).pipe(
            Effect.withSpan("JobQueue.complete"),
          ),
        chunk: (jobId, body, limit) =>
          post(webhooks.chunk(jobId), jobId, body, limit).pipe(Effect.withSpan("JobQueue.chunk")),
        canStop: Option.isSome(webhooks.stop),
        rerunsUnfinished: false,
        canStream: Option.isSome(webhooks.chunk("")),
        ping: (parameters, limit) =>
          Option.match(webhooks.ping(parameters), {
            onNone: () => Effect.void,
            onSome: (address) => send(HttpClientRequest.get(address, { headers }), limit),
          }),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(Webhooks.layer));
}
