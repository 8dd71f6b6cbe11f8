import { Context, Effect, Layer, Option, Redacted, Schema, Stream } from "effect";
import { HttpBody, HttpClient, type HttpClientError, HttpClientRequest } from "effect/http";

import manifest from "../../../package.json" with { type: "json" };
import { isFinal, JobStatus } from "../../domain/EndpointJob.ts";
import * as Setting from "../../settings/Setting.ts";
import { jsonBody } from "./ResponseBody.ts";

const API_KEY = Setting.secret({
  name: "RUNPOD_API_KEY",
  doc: "The user's key: `invoke` sends it, and code of jobs that calls other endpoints finds it.",
});

/** Where RunPod's endpoints are. */
const RUNPOD = "https://api.runpod.ai/v2";

/** What a server that wants no key gets in its place. */
const NO_KEY = "none";

/** How long a response may take to begin; a big request takes longer, and streams are held open. */
const SHORT_LIMIT = { seconds: 15 };
const SUBMIT_LIMIT = { seconds: 120 };
const STREAM_LIMIT = { seconds: 60 };

/** How long the body of a response may take in all. */
const BODY_LIMIT = { seconds: 120 };

/** The pause before polling a stream again that has nothing new. */
const STREAM_PAUSE = { milliseconds: 250 };

/** Ids that a server may give to a job: they become part of addresses that the key is sent to. */
const JOB_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;

const ENDPOINT_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** The address or the id is invalid; no request was sent. */
class EndpointInvalid extends Schema.TaggedError<EndpointInvalid>()("EndpointInvalid", {
  reason: Schema.String,
}) {
  override get message(): string {
    return this.reason;
  }
}

/** An endpoint did not do what it was asked for. */
class EndpointFailed extends Schema.TaggedError<EndpointFailed>()("EndpointFailed", {
  url: Schema.String,
  /** Absent when there was no answer at all. */
  status: Schema.optionalKey(Schema.Int),
  /** The response can't be used. */
  isUnusable: Schema.optionalKey(Schema.Boolean),
  reason: Schema.String,
}) {
  override get message(): string {
    if (this.isUnusable === true) {
      return `Invalid response from ${this.url}: ${this.reason}.`;
    }
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
        return `${this.url} rejects the request as too large: RunPod accepts 10 MB. Put large data on the volume or in a bucket and send its location.`;
      default:
        return `${this.url} answered ${this.status}: ${this.reason}`;
    }
  }

  /** Whether the same request may do better a little later. */
  get isRetryable(): boolean {
    if (this.isUnusable === true) return false;
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
const decodeRun = Schema.decodeUnknownOption(Schema.Struct({ id: Schema.String }));
const decodeStream = Schema.decodeUnknownEffect(
  Schema.Struct({
    status: Schema.optionalKey(Schema.String),
    stream: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.Unknown))),
  }),
);
const decodeStatus = Schema.decodeUnknownOption(JobStatus);

/** Why there was no response, without the request, which contains the key. */
const reasonOf = ({ reason: { _tag, cause } }: HttpClientError.HttpClientError): string => {
  if (!(cause instanceof Error)) return _tag;
  return "code" in cause && typeof cause.code === "string" ? cause.code : cause.message;
};

/** The address of an endpoint's routes; a bare origin means RunPod's path there. */
const baseOf = (text: string): Effect.Effect<string, EndpointInvalid> => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    return Effect.fail(
      new EndpointInvalid({
        reason:
          "--url: expected an address such as http://127.0.0.1:8000 or https://example.com/v2",
      }),
    );
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    return Effect.fail(
      new EndpointInvalid({
        reason:
          "--url: expected an address without a user, a password, a query or a fragment. The key is taken from RUNPOD_API_KEY",
      }),
    );
  }
  const path = url.pathname.replace(/\/+$/, "");
  return Effect.succeed(`${url.origin}${path === "" ? "/v2" : path}`);
};

/** Describes the target of a redirect. */
const redirectReason = (from: string, location: string | undefined): string => {
  const to = URL.canParse(location ?? "", from) ? new URL(location ?? "", from) : undefined;
  if (to === undefined) return "it is a redirect without a valid location";
  const where = to.origin === new URL(from).origin ? "another path" : `another host, ${to.host}`;
  return `it redirects to ${where}. The key is only sent to the configured address: if the endpoint has moved there, pass the new address as --url`;
};

const body = (json: unknown) =>
  HttpClientRequest.setBody(
    HttpBody.uint8Array(Buffer.from(JSON.stringify(json)), "application/json"),
  );

/** Sends requests to the endpoint at `here` and reads the JSON of the answers. Redirects are not followed. */
const exchange = (
  client: HttpClient.HttpClient,
  here: string,
  headers: Readonly<Record<string, string>>,
) => {
  const unusable = (reason: string) => new EndpointFailed({ url: here, isUnusable: true, reason });
  const unreachable = (reason: string) => new EndpointFailed({ url: here, reason });
  const late = (what: string) => () => Effect.fail(unreachable(`${what} in time`));
  return Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
    limit: { readonly seconds: number },
  ) {
    const response = yield* client.execute(HttpClientRequest.setHeaders(request, headers)).pipe(
      Effect.timeoutOrElse({ duration: limit, orElse: late("there was no response") }),
      Effect.catchTag("HttpClientError", (error) => Effect.fail(unreachable(reasonOf(error)))),
    );
    const { status } = response;
    const body = jsonBody(response).pipe(
      Effect.timeoutOrElse({
        duration: BODY_LIMIT,
        orElse: late("the response was not complete"),
      }),
      Effect.catchTags({
        BodyUnusable: ({ reason }) => Effect.fail(unusable(reason)),
        HttpClientError: (error) => Effect.fail(unreachable(reasonOf(error))),
      }),
    );
    if (status >= 200 && status < 300) return yield* body;
    // Reading a part of the body and stopping there closes the connection.
    yield* response.stream.pipe(
      Stream.take(1),
      Stream.runDrain,
      Effect.timeout({ seconds: 1 }),
      Effect.ignore,
    );
    if (status >= 300 && status < 400) {
      return yield* unusable(redirectReason(here, response.headers["location"]));
    }
    return yield* new EndpointFailed({ url: here, status, reason: "the request failed" });
  });
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
>()("worker-tetra/cli/remote/EndpointClient") {
  static readonly layer = (endpointId: string, url: Option.Option<string>) =>
    Layer.effect(
      this,
      Effect.gen(function* () {
        const client = yield* HttpClient.HttpClient;
        const key = yield* API_KEY.value;
        const base = yield* baseOf(Option.getOrElse(url, () => RUNPOD));
        if (!ENDPOINT_ID.test(endpointId)) {
          return yield* new EndpointInvalid({
            reason: `${JSON.stringify(endpointId)} can't be the id of an endpoint: expected letters, digits, ".", "_" and "-"`,
          });
        }
        const here = `${base}/${endpointId}`;
        if (Option.isNone(key) && Option.isNone(url)) {
          return yield* new EndpointFailed({ url: here, status: 401, reason: NO_KEY });
        }
        const headers = {
          authorization: `Bearer ${Option.match(key, { onNone: () => NO_KEY, onSome: Redacted.value })}`,
          "user-agent": `worker-tetra/${manifest.version} (node ${process.versions.node})`,
          "accept-encoding": "gzip",
        };

        const asked = exchange(client, here, headers);
        const unusable = (reason: string) =>
          new EndpointFailed({ url: here, isUnusable: true, reason });
        const checked = (id: string) =>
          JOB_ID.test(id)
            ? Effect.succeed(id)
            : Effect.fail(unusable('the job id is invalid: expected letters, digits, "_" and "-"'));

        const notAJob = () => unusable("it is not the response of a RunPod endpoint");

        const run = Effect.fn("EndpointClient.run")(function* (input: unknown) {
          const request = HttpClientRequest.post(`${here}/run`).pipe(body({ input }));
          const answer = decodeRun(yield* asked(request, SUBMIT_LIMIT));
          if (Option.isNone(answer)) return yield* notAJob();
          return yield* checked(answer.value.id);
        });

        const status = Effect.fn("EndpointClient.status")(function* (id: string) {
          const request = HttpClientRequest.get(`${here}/status/${yield* checked(id)}`);
          const answer = yield* asked(request, SHORT_LIMIT);
          return yield* Effect.mapError(decodeJob(answer), notAJob);
        });

        const values = Effect.fnUntraced(function* (id: string) {
          const request = HttpClientRequest.get(`${here}/stream/${yield* checked(id)}`);
          const answer = yield* asked(request, STREAM_LIMIT);
          const { status: now, stream } = yield* Effect.mapError(decodeStream(answer), notAJob);
          const isOver = Option.exists(decodeStatus(now), isFinal);
          const isEmpty = stream === undefined || stream === null || stream.length === 0;
          if (isEmpty && !isOver) yield* Effect.sleep(STREAM_PAUSE);
          return [stream ?? [], isOver ? Option.none<string>() : Option.some(id)] as const;
        });

        const cancel = Effect.fn("EndpointClient.cancel")(function* (id: string) {
          const request = HttpClientRequest.post(`${here}/cancel/${yield* checked(id)}`);
          yield* asked(request.pipe(body({})), SHORT_LIMIT);
        });

        return EndpointClient.of({
          url: here,
          run,
          status,
          stream: (id) => Stream.paginate(id, values),
          cancel,
        });
      }),
    );
}
