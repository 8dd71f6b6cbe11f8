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
  doc: "The user's key: `invoke` sends it, and code of jobs that calls other endpoints finds it.",
});

/** How long a response may take to begin; a big request takes longer, and streams are held open. */
const SHORT_LIMIT = Duration.seconds(15);
const SUBMIT_LIMIT = Duration.minutes(2);
const STREAM_LIMIT = Duration.minutes(1);

/** The pause before polling a stream again that has nothing new. */
const STREAM_PAUSE = Duration.millis(250);

/** Ids that a server may give to a job: they become part of addresses that the key is sent to. */
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

/** The routes of the endpoint at `here`. */
const routesOf = (here: string, send: ReturnType<typeof exchange>) => {
  const unusable = (reason: string) => new EndpointFailed({ url: here, isUnusable: true, reason });
  const notAJob = () => unusable("it is not the response of a RunPod endpoint");
  const checked = (id: string) =>
    JOB_ID.test(id)
      ? Effect.succeed(id)
      : Effect.fail(unusable('the job id is invalid: expected letters, digits, "_" and "-"'));

  const run = Effect.fn("EndpointClient.run")(function* (input: unknown) {
    const request = HttpClientRequest.post(`${here}/run`).pipe(body({ input }));
    const answer = decodeRun(yield* send(request, SUBMIT_LIMIT));
    if (Option.isNone(answer)) return yield* notAJob();
    return yield* checked(answer.value.id);
  });

  const status = Effect.fn("EndpointClient.status")(function* (id: string) {
    const request = HttpClientRequest.get(`${here}/status/${yield* checked(id)}`);
    const answer = yield* send(request, SHORT_LIMIT);
    return yield* Effect.mapError(decodeJob(answer), notAJob);
  });

  const values = Effect.fnUntraced(function* (id: string) {
    const request = HttpClientRequest.get(`${here}/stream/${yield* checked(id)}`);
    const answer = yield* send(request, STREAM_LIMIT);
    const { status: now, stream } = yield* Effect.mapError(decodeStream(answer), notAJob);
    const isOver = hasEnded(now);
    const isEmpty = stream === undefined || stream === null || stream.length === 0;
    if (isEmpty && !isOver) yield* Effect.sleep(STREAM_PAUSE);
    return [stream ?? [], isOver ? Option.none<string>() : Option.some(id)] as const;
  });

  const cancel = Effect.fn("EndpointClient.cancel")(function* (id: string) {
    const request = HttpClientRequest.post(`${here}/cancel/${yield* checked(id)}`);
    yield* send(request.pipe(body({})), SHORT_LIMIT);
  });

  return { run, status, stream: (id: string) => Stream.paginate(id, values), cancel };
};

/** Jobs at an endpoint of RunPod, or at one that looks like it. */
export class EndpointClient extends Context.Service<
  EndpointClient,
  {
    /** The address of the endpoint. */
    readonly url: string;
    /** Submits a job, and returns its id. */
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
        const here = yield* addressOf(endpointId, url);
        if (Option.isNone(key) && Option.isNone(url)) {
          return yield* new EndpointFailed({ url: here, status: 401, reason: NO_KEY });
        }
        const send = exchange(client, here, headersOf(key));
        return EndpointClient.of({ url: here, ...routesOf(here, send) });
      }),
    );
}
