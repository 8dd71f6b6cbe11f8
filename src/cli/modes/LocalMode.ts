import { randomBytes } from "node:crypto";

import { Console, Effect, Latch, Layer, Option, Redacted } from "effect";

import { liveAppLayer } from "../../apps/LiveLaunch.ts";
import { liveRoutes } from "../../endpoint/AppRoutes.ts";
import { Drain } from "../../endpoint/Drain.ts";
import { LoadBalancer } from "../../endpoint/LoadBalancer.ts";
import { localEndpointRoutes } from "../../endpoint/LocalEndpoint.ts";
import { endpointServer } from "../../endpoint/http/EndpointServer.ts";
import { isLoopback } from "../../endpoint/http/Loopback.ts";
import { LocalQueue } from "../../endpoint/jobs/LocalQueue.ts";
import { JobStore } from "../../endpoint/store/JobStore.ts";
import { functionHandler, makeFunctionHandler } from "../../functions/FunctionHandler.ts";
import { RemoteExecutor } from "../../functions/RemoteExecutor.ts";
import { JobQueue } from "../../queue/JobQueue.ts";
import { QueueWorker } from "../../queue/QueueWorker.ts";
import { Delivery } from "../../queue/reports/Delivery.ts";
import { Heartbeat } from "../../queue/reports/Heartbeat.ts";
import { ResultStore } from "../../queue/reports/ResultStore.ts";
import { Webhooks } from "../../queue/runpod/Webhooks.ts";
import { RunnerPool } from "../../runner/RunnerPool.ts";
import { SERVE_CONCURRENCY } from "../../settings/Concurrency.ts";
import { Environment } from "../../settings/Environment.ts";
import { Failed, refuse } from "../process/CommandFailure.ts";
import { liveOutput } from "../process/LiveOutput.ts";
import { logShutdown, work } from "./LocalWork.ts";

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
export const addressOf = (host: string, port: number): string =>
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

/** A worker with a local queue, and the services of the endpoint's routes. */
const layerOf = (environment: Layer.Layer<Environment>, keep: Option.Option<string>) =>
  // Not shared with layers that use the original environment variables.
  Layer.fresh(
    Layer.mergeAll(
      queueLayer(keep),
      RemoteExecutor.layer,
      RunnerPool.layer,
      Drain.layer,
      liveAppLayer,
    ).pipe(Layer.provideMerge(environment)),
  );

/** Environment variables for jobs: calls to other functions are sent to this endpoint. */
export const environmentOfJobs = (
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

export const warnIfOpen = (host: string, key: ServingOptions["key"], url: string) =>
  isLoopback(host) || Option.isSome(key)
    ? Effect.void
    : Effect.logWarning(
        `Anyone who can reach ${url} can run code on this machine. Set WORKER_SERVE_KEY, or listen on 127.0.0.1.`,
      );

/** Serves a RunPod endpoint on this machine until shutdown is requested. */
export const serveLocally = Effect.fn("serve")(
  function* ({ host, port, concurrency, keep, key }: ServingOptions) {
    const token = Redacted.make(randomBytes(32).toString("base64url"));
    const server = yield* endpointServer({
      host,
      port,
      keys: Option.match(key, { onNone: () => [], onSome: (secret) => [secret, token] }),
      isBehindGateway: false,
    });
    const url = urlOf(host, server.port);
    yield* Effect.addFinalizer(() => Effect.logInfo("Worker stopped"));
    const environment = environmentOfJobs(
      yield* Environment,
      addressOf(host, server.port),
      { key, concurrency },
      token,
    );
    yield* warnIfOpen(host, key, url);
    const services = yield* Layer.build(layerOf(environment, keep));
    const ready = Latch.makeUnsafe();
    yield* server.serve(
      localEndpointRoutes.pipe(
        Layer.provide(LoadBalancer.layer(makeFunctionHandler, ready, liveOutput)),
        Layer.provide(Layer.succeedContext(services)),
      ),
      yield* Effect.provide(liveRoutes, services),
    );
    // Logged last: clients may send requests as soon as they read this.
    yield* Effect.logInfo(`Worker started: listening at ${url}`);
    yield* Console.error(
      [
        `Serving a RunPod endpoint on ${url} (routes: ${url}/docs)`,
        `For clients: export RUNPOD_ENDPOINT_BASE_URL=${url}/v2 RUNPOD_API_KEY=${Option.isSome(key) ? "<the key>" : "local"}`,
      ].join("\n"),
    );
    if (Option.isNone(keep)) yield* Effect.forkScoped(logShutdown);
    yield* Effect.provide(
      work({
        handler: functionHandler,
        warm: Effect.andThen(
          Effect.flatMap(RunnerPool, (runner) => runner.warm),
          ready.open,
        ),
        isPersistent: Option.isSome(keep),
      }),
      services,
    );
  },
  Effect.scoped,
  Effect.catchTags({
    ListenFailed: ({ message }) =>
      Effect.andThen(Console.error(message), Effect.fail(new Failed({ exitCode: 1 }))),
    JobStoreUnusable: refuse,
  }),
);
