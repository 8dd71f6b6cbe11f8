import { randomBytes } from "node:crypto";

import { Console, Effect, Latch, Layer, Option, Redacted } from "effect";

import { liveAppLayer } from "../../apps/LiveLaunch.ts";
import { liveRoutes } from "../../endpoint/AppRoutes.ts";
import { Drain } from "../../endpoint/Drain.ts";
import { LoadBalancer } from "../../endpoint/LoadBalancer.ts";
import { localEndpointRoutes } from "../../endpoint/LocalEndpoint.ts";
import { endpointServer } from "../../endpoint/http/EndpointServer.ts";
import { functionHandler, makeFunctionHandler } from "../../functions/FunctionHandler.ts";
import { RemoteExecutor } from "../../functions/RemoteExecutor.ts";
import { RunnerPool } from "../../runner/RunnerPool.ts";
import { Environment } from "../../settings/Environment.ts";
import { Failed, refuse } from "../process/CommandFailure.ts";
import { liveOutput } from "../process/LiveOutput.ts";
import {
  addressOf,
  environmentOfJobs,
  queueLayer,
  type ServingOptions,
  urlOf,
  warnIfOpen,
} from "./LocalServing.ts";
import { logShutdown, work } from "./LocalWork.ts";

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
