import { Context, Effect, Layer, Option, Predicate, Redacted, Schema, Stream } from "effect";

import * as Setting from "../settings/Setting.ts";

const API_KEY = Setting.secret({
  name: "RUNPOD_API_KEY",
  doc: "The user's key: `invoke` sends it, and code of jobs that calls other endpoints finds it.",
});

/** Where RunPod's endpoints are. */
const RUNPOD = "https://api.runpod.ai/v2";

/** What a server that wants no key gets in its place. */
const NO_KEY = "none";

/** Times for one request, in milliseconds; a big one takes longer. */
const SHORT_LIMIT = 15_000;
const SUBMIT_LIMIT = 120_000;

/** An endpoint did not do what it was asked for. */
class EndpointFailed extends Schema.TaggedError<EndpointFailed>()("EndpointFailed", {
  url: Schema.String,
  /** Absent when there was no answer at all. */
  status: Schema.optionalKey(Schema.Int),
  reason: Schema.String,
}) {
  override get message(): string {
    switch (this.status) {
      case undefined:
        return `${this.url} does not answer (${this.reason}). On this machine start it by \`worker-tetra serve\`; elsewhere check the address and the network.`;
      case 401:
      case 403:
        return this.reason === NO_KEY
          ? "There is no API key: set RUNPOD_API_KEY to one that may use this endpoint. RunPod's console makes them under Settings."
          : `${this.url} refuses the API key. Set RUNPOD_API_KEY to one that may use this endpoint.`;
      case 404:
        return `${this.url} is no endpoint, or the job is gone. Check the endpoint's id.`;
      case 413:
        return `${this.url} finds the request too large: RunPod takes 10 MB. Put big data on the volume or in a bucket and send where it is.`;
      default:
        return `${this.url} answered ${this.status}: ${this.reason}`;
    }
  }

  /** Whether the same request may do better a little later. */
  get isRetryable(): boolean {
    return this.status === undefined || this.status >= 500 || this.status === 429;
  }
}

/** A job as any RunPod endpoint describes it. */
const RemoteJob = Schema.Struct({
  id: Schema.String,
  status: Schema.String,
  delayTime: Schema.optionalKey(Schema.Finite),
  executionTime: Schema.optionalKey(Schema.Finite),
  output: Schema.optionalKey(Schema.Unknown),
  error: Schema.optionalKey(Schema.Unknown),
});
export type RemoteJob = typeof RemoteJob.Type;

const decodeJob = Schema.decodeUnknownEffect(RemoteJob);
const decodeRun = Schema.decodeUnknownEffect(Schema.Struct({ id: Schema.String }));

/** The innermost reason of an error of the SDK, without what was sent: that has the key in it. */
const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  if (error.cause instanceof Error) return reasonOf(error.cause);
  return Predicate.hasProperty(error, "code") && typeof error.code === "string"
    ? error.code
    : error.message;
};

const statusOf = (error: unknown): number | undefined =>
  Predicate.hasProperty(error, "response") &&
  Predicate.hasProperty(error.response, "status") &&
  typeof error.response.status === "number"
    ? error.response.status
    : undefined;

/** The address of an endpoint's routes; a bare origin means RunPod's path there. */
const baseOf = (url: string): string => {
  const trimmed = url.replace(/\/+$/, "");
  return URL.canParse(trimmed) && new URL(trimmed).pathname === "/" ? `${trimmed}/v2` : trimmed;
};

/** Jobs at an endpoint of RunPod, or at one that looks like it. */
export class EndpointClient extends Context.Service<
  EndpointClient,
  {
    /** Where it is, for people. */
    readonly url: string;
    /** Hands in a job; its id. */
    readonly run: (input: unknown) => Effect.Effect<string, EndpointFailed>;
    readonly status: (id: string) => Effect.Effect<RemoteJob, EndpointFailed>;
    /** Values of a generator as they come, until the job has ended. */
    readonly stream: (id: string) => Stream.Stream<unknown, EndpointFailed>;
    readonly cancel: (id: string) => Effect.Effect<void, EndpointFailed>;
  }
>()("worker-tetra/endpoint/EndpointClient") {
  static readonly layer = (endpointId: string, url: Option.Option<string>) =>
    Layer.effect(
      this,
      Effect.gen(function* () {
        const key = yield* API_KEY.value;
        const baseUrl = baseOf(Option.getOrElse(url, () => RUNPOD));
        const here = `${baseUrl}/${endpointId}`;

        const failed = (error: unknown) => {
          const status = statusOf(error);
          return new EndpointFailed({
            url: here,
            reason: reasonOf(error),
            ...(status === undefined ? {} : { status }),
          });
        };

        if (Option.isNone(key) && Option.isNone(url)) {
          return yield* new EndpointFailed({ url: here, status: 401, reason: NO_KEY });
        }
        const endpoint = yield* Effect.tryPromise({
          // It takes a while to load, and most commands do without it.
          try: () => import("runpod-sdk"),
          catch: failed,
        }).pipe(
          Effect.map(({ default: sdk }) => {
            const secret = Option.match(key, { onNone: () => NO_KEY, onSome: Redacted.value });
            return sdk(secret, { baseUrl }).endpoint(endpointId);
          }),
          Effect.flatMap(Effect.fromNullishOr),
          Effect.mapError(failed),
        );

        const asked = <A>(request: () => Promise<A>) =>
          Effect.tryPromise({ try: request, catch: failed });

        const run = Effect.fn("EndpointClient.run")(function* (input: unknown) {
          const answer = yield* asked(() => endpoint.run({ input }, SUBMIT_LIMIT));
          const { id } = yield* Effect.mapError(decodeRun(answer), failed);
          return id;
        });

        return EndpointClient.of({
          url: here,
          run,
          status: (id) =>
            asked(() => endpoint.status(id, SHORT_LIMIT)).pipe(
              Effect.flatMap((answer) => Effect.mapError(decodeJob(answer), failed)),
            ),
          stream: (id) => Stream.fromAsyncIterable(endpoint.stream(id), failed),
          cancel: (id) => Effect.asVoid(asked(() => endpoint.cancel(id, SHORT_LIMIT))),
        });
      }),
    );
}
