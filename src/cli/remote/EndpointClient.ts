import { Context, Duration, Effect, Layer, Option, Redacted, Schema, Stream } from "effect";
import { HttpBody, HttpClient, HttpClientRequest } from "effect/http";

import manifest from "../../../package.json" with { type: "json" };
import * as Setting from "../../settings/Setting.ts";
import { addressOf } from "./EndpointAddress.ts";
import { EndpointFailed, NO_KEY } from "./EndpointError.ts";
import { exchange } from "./Exchange.ts";
import { hasEnded, RemoteJob } from "./RemoteJob.ts";

const API_KEY = Setting.secret({
  name: "RUNPOD_API_KEY",
  doc: "The user's API key. `invoke` sends it, and jobs can call other endpoints with it.",
});

/** Timeouts for the start of a response. Large requests take longer, and stream responses wait for values. */
const SHORT_TIMEOUT = Duration.seconds(15);
const SUBMIT_TIMEOUT = Duration.minutes(2);
const STREAM_TIMEOUT = Duration.minutes(1);

/** Pause before a stream without new values is polled again. */
const STREAM_PAUSE = Duration.millis(250);

/** Valid job ids. They become part of URLs that the key is sent to. */
const JOB_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;

const decodeJob = Schema.decodeUnknownEffect(RemoteJob);
const decodeRun = Schema.decodeUnknownOption(Schema.Struct({ id: Schema.String }));
const decodeStream = Schema.decodeUnknownEffect(
  Schema.Struct({
    status: Schema.optionalKey(Schema.String),
    stream: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.Unknown))),
  }),
);

const body = (json: unknown) =>
  HttpClientRequest.setBody(
    HttpBody.uint8Array(Buffer.from(JSON.stringify(json)), "application/json"),
  );

const headersOf = (key: Option.Option<Redacted.Redacted<string>>) => ({
  authorization: `Bearer ${Option.match(key, { onNone: () => NO_KEY, onSome: Redacted.value })}`,
  "user-agent": `worker-tetra/${manifest.version} (node ${process.versions.node})`,
  "accept-encoding": "gzip",
});

/** The routes of an endpoint. */
const routesOf = (endpointUrl: string, send: ReturnType<typeof exchange>) => {
  const invalidResponse = (reason: string) =>
    new EndpointFailed({ url: endpointUrl, isInvalid: true, reason });
  const notAJob = () => invalidResponse("not the response of a RunPod endpoint");
  const checked = (id: string) =>
    JOB_ID.test(id)
      ? Effect.succeed(id)
      : Effect.fail(
          invalidResponse('the job id is invalid: expected letters, digits, "_" and "-"'),
        );

  const run = Effect.fn("EndpointClient.run")(function* (input: unknown) {
    const request = HttpClientRequest.post(`${endpointUrl}/run`).pipe(body({ input }));
    const response = decodeRun(yield* send(request, SUBMIT_TIMEOUT));
    if (Option.isNone(response)) return yield* notAJob();
    return yield* checked(response.value.id);
  });

  const status = Effect.fn("EndpointClient.status")(function* (id: string) {
    const request = HttpClientRequest.get(`${endpointUrl}/status/${yield* checked(id)}`);
    const response = yield* send(request, SHORT_TIMEOUT);
    return yield* Effect.mapError(decodeJob(response), notAJob);
  });

  const values = Effect.fnUntraced(function* (id: string) {
    const request = HttpClientRequest.get(`${endpointUrl}/stream/${yield* checked(id)}`);
    const response = yield* send(request, STREAM_TIMEOUT);
    const { status: now, stream } = yield* Effect.mapError(decodeStream(response), notAJob);
    const isDone = hasEnded(now);
    const isEmpty = stream === undefined || stream === null || stream.length === 0;
    if (isEmpty && !isDone) yield* Effect.sleep(STREAM_PAUSE);
    return [stream ?? [], isDone ? Option.none<string>() : Option.some(id)] as const;
  });

  const cancel = Effect.fn("EndpointClient.cancel")(function* (id: string) {
    const request = HttpClientRequest.post(`${endpointUrl}/cancel/${yield* checked(id)}`);
    yield* send(request.pipe(body({})), SHORT_TIMEOUT);
  });

  return { run, status, stream: (id: string) => Stream.paginate(id, values), cancel };
};

/** Client for the jobs of a RunPod endpoint, or of a server with the same routes. */
export class EndpointClient extends Context.Service<
  EndpointClient,
  {
    /** The URL of the endpoint. */
    readonly url: string;
    /** Submits a job and returns its id. */
    readonly run: (input: unknown) => Effect.Effect<string, EndpointFailed>;
    readonly status: (id: string) => Effect.Effect<RemoteJob, EndpointFailed>;
    /** The values of a generator as they arrive, until the job has ended. */
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
        const endpointUrl = yield* addressOf(endpointId, url);
        if (Option.isNone(key) && Option.isNone(url)) {
          return yield* new EndpointFailed({ url: endpointUrl, status: 401, reason: NO_KEY });
        }
        const send = exchange(client, endpointUrl, headersOf(key));
        return EndpointClient.of({ url: endpointUrl, ...routesOf(endpointUrl, send) });
      }),
    );
}
