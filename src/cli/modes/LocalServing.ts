import { randomBytes } from "node:crypto";

import { Console, Effect, Layer, Option, Redacted } from "effect";

import { endpointServer, type EndpointServerOptions } from "../../endpoint/http/EndpointServer.ts";
import { isLoopback } from "../../endpoint/http/Loopback.ts";
import { LocalQueue } from "../../endpoint/jobs/LocalQueue.ts";
import { JobStore } from "../../endpoint/store/JobStore.ts";
import { JobQueue } from "../../queue/JobQueue.ts";
import { QueueWorker } from "../../queue/QueueWorker.ts";
import { Delivery } from "../../queue/reports/Delivery.ts";
import { Heartbeat } from "../../queue/reports/Heartbeat.ts";
import { ResultStore } from "../../queue/reports/ResultStore.ts";
import { Webhooks } from "../../queue/runpod/Webhooks.ts";
import { SERVE_CONCURRENCY } from "../../settings/Concurrency.ts";
import { Environment } from "../../settings/Environment.ts";
import { Failed, refuse } from "../process/CommandFailure.ts";

export interface ServingOptions {
  readonly host: string;
  readonly port: Option.Option<number>;
  readonly concurrency: Option.Option<number>;
  /** Folder in which jobs are stored, so that they survive a restart. */
  readonly keep: Option.Option<string>;
  /** The API key that clients must send. */
  readonly key: Option.Option<Redacted.Redacted<string>>;
}

export const urlOf = (host: string, port: number): string =>
  `http://${host.includes(":") ? `[${host}]` : host}:${port}`;

/** The URL at which programs on this machine reach a server that listens on a host. */
const addressOf = (host: string, port: number): string =>
  urlOf(host === "" || host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host, port);

/** A local queue and its worker. Jobs are stored in the folder if there is one. */
export const queueLayer = (keep: Option.Option<string>) => {
  const queue = LocalQueue.layer.pipe(
    Layer.provide(
      Option.match(keep, { onNone: () => JobStore.layerNone, onSome: JobStore.layerFolder }),
    ),
  );
  const forWorker = Layer.effect(
    JobQueue,
    Effect.map(LocalQueue, (local) => local.forWorker),
  );
  return QueueWorker.layerNoDeps.pipe(
    Layer.provide([Delivery.layerNoDeps, Heartbeat.layerNoDeps]),
    Layer.provide([forWorker, ResultStore.layer, Webhooks.layer]),
    Layer.provideMerge(queue),
  );
};

/** Environment variables for jobs: calls to other functions are sent to this endpoint. */
const environmentOfJobs = (
  environment: Environment["Service"],
  address: string,
  { key, concurrency }: Pick<ServingOptions, "key" | "concurrency">,
  token: Redacted.Redacted<string>,
) => {
  const credential = { RUNPOD_API_KEY: Redacted.value(token) };
  const isOwnEndpoint = !environment.has("RUNPOD_ENDPOINT_BASE_URL");
  // This server would refuse the user's key for other services.
  const isReplaced = Option.exists(
    key,
    (secret) => isOwnEndpoint || environment.isSetTo("RUNPOD_API_KEY", Redacted.value(secret)),
  );
  return environment.amended(
    {
      WORKER_PROGRESS: "output",
      WORKER_CONCURRENCY: String(SERVE_CONCURRENCY),
      RUNPOD_ENDPOINT_BASE_URL: `${address}/v2`,
      ...credential,
    },
    {
      ...(isReplaced ? credential : {}),
      ...(Option.isSome(concurrency) ? { WORKER_CONCURRENCY: String(concurrency.value) } : {}),
    },
  );
};

const warnIfOpen = (host: string, key: ServingOptions["key"], url: string) =>
  isLoopback(host) || Option.isSome(key)
    ? Effect.void
    : Effect.logWarning(
        `Anyone who can reach ${url} can run code on this machine. Set WORKER_SERVE_KEY, or listen on 127.0.0.1.`,
      );

/**
 * Starts the first server of local endpoints, without routes. Code of jobs calls other functions there, with a key of
 * its own.
 */
export const startServer = Effect.fnUntraced(function* (
  { host, port, key, concurrency }: ServingOptions,
  more: Pick<EndpointServerOptions, "rewrite"> = {},
) {
  const token = Redacted.make(randomBytes(32).toString("base64url"));
  const access = {
    host,
    keys: Option.match(key, { onNone: () => [], onSome: (secret) => [secret, token] }),
    isBehindGateway: false,
  };
  const server = yield* endpointServer({ ...access, port, ...more });
  const url = urlOf(host, server.port);
  yield* Effect.addFinalizer(() => Effect.logInfo("Worker stopped"));
  const environment = environmentOfJobs(
    yield* Environment,
    addressOf(host, server.port),
    { key, concurrency },
    token,
  );
  yield* warnIfOpen(host, key, url);
  return { server, url, access, environment };
});

/** Says what is served. Runs last: clients may send requests as soon as they read this. */
export const announce = (
  url: string,
  { key }: Pick<ServingOptions, "key">,
  lines: ReadonlyArray<string>,
) =>
  Effect.andThen(
    Effect.logInfo(`Worker started: listening at ${url}`),
    Console.error(
      [
        ...lines,
        `For clients: export RUNPOD_ENDPOINT_BASE_URL=${url}/v2 RUNPOD_API_KEY=${Option.isSome(key) ? "<the key>" : "local"}`,
      ].join("\n"),
    ),
  );

/** Handlers of the errors that end the program with a message: a port or the stored jobs can't be used. */
export const SERVING_FAILURES = {
  ListenFailed: ({ message }: { readonly message: string }) =>
    Effect.andThen(Console.error(message), Effect.fail(new Failed({ exitCode: 1 }))),
  JobStoreUnusable: refuse,
};
