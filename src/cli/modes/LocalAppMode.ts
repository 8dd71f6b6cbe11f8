import type { IncomingMessage } from "node:http";
import { join } from "node:path";

import { Effect, Latch, Layer, Option } from "effect";
import { HttpServerResponse } from "effect/http";

import { AppHandler } from "../../apps/AppHandler.ts";
import { AppStart } from "../../apps/AppStart.ts";
import type { App } from "../../apps/manifest/App.ts";
import { Drain } from "../../endpoint/Drain.ts";
import { endpointRoutes } from "../../endpoint/LocalEndpoint.ts";
import { endpointServer } from "../../endpoint/http/EndpointServer.ts";
import type { Fallback } from "../../endpoint/http/HttpGuard.ts";
import { Webhooks } from "../../queue/runpod/Webhooks.ts";
import { Environment } from "../../settings/Environment.ts";
import { refuse } from "../process/CommandFailure.ts";
import { Shutdown } from "../process/Shutdown.ts";
import { deployedApiRoutes } from "./DeployedApi.ts";
import { followConcurrency } from "./DeployedQueueMode.ts";
import { finishRequests } from "./GatewayRequests.ts";
import { type LocalAppOptions, localAppLayer, localApps } from "./LocalApps.ts";
import {
  announce,
  queueLayer,
  SERVING_FAILURES,
  type ServingOptions,
  startServer,
  urlOf,
} from "./LocalServing.ts";
import { logShutdown, work } from "./LocalWork.ts";

/** The path of RunPod's sentinel, which calls the endpoint that a header names. */
const SENTINEL = "/v2/flash/";
const ENDPOINT_HEADER = "x-flash-endpoint";

/** Replaces the path of the sentinel by that of the endpoint. */
const chooseEndpoint = (request: IncomingMessage): void => {
  const endpoint = request.headers[ENDPOINT_HEADER];
  const { url } = request;
  if (typeof endpoint !== "string" || url?.startsWith(SENTINEL) !== true) return;
  request.url = `/v2/${encodeURIComponent(endpoint)}/${url.slice(SENTINEL.length)}`;
};

/** The response to requests for other endpoints. */
const unknownRoute = (queues: ReadonlyArray<App>): Fallback => {
  const names = queues.map(({ resource }) => resource.name).join(", ");
  const error = `Unknown resource or route. This app has /v2/<resource>/runsync and RunPod's other routes for ${names}.`;
  const response = HttpServerResponse.jsonUnsafe({ error }, { status: 404 });
  return () => Effect.succeedSome(response);
};

/** Environment variables of an app's process that RunPod and the clients set for an endpoint. */
const variablesOf = ({ resource: { name } }: App, { has }: Environment["Service"]) => ({
  FLASH_RESOURCE_NAME: name,
  RUNPOD_ENDPOINT_ID: name,
  ...Object.fromEntries(
    ["FLASH_APP", "FLASH_ENV", "FLASH_ENVIRONMENT"]
      .filter((variable) => !has(variable))
      .map((variable) => [variable, "local"]),
  ),
});

interface AppServing extends ServingOptions {
  readonly app: LocalAppOptions;
}

type Server = Effect.Success<ReturnType<typeof endpointServer>>;

/** What all resources share. */
interface Shared {
  readonly options: AppServing;
  readonly environment: Layer.Layer<Environment>;
  /** Whether all processes are started at once, not by the first job. */
  readonly isEager: boolean;
}

const servicesOf = (app: App, { environment }: Shared) =>
  Effect.flatMap(Environment, (variables) =>
    Layer.build(
      Layer.mergeAll(
        localAppLayer(app, variablesOf(app, variables)),
        Drain.layer,
        Webhooks.layer,
      ).pipe(Layer.provideMerge(environment)),
    ),
  );

/** A resource with a queue: the routes of its endpoint, and the worker of its queue. */
const serveQueue = Effect.fnUntraced(function* (app: App, url: string, shared: Shared) {
  const { name } = app.resource;
  const keep = Option.map(shared.options.keep, (folder) => join(folder, name));
  const services = yield* Layer.build(
    Layer.fresh(queueLayer(keep)).pipe(
      Layer.provideMerge(Layer.succeedContext(yield* servicesOf(app, shared))),
    ),
  );
  const ready = Latch.makeUnsafe();
  const serve = Effect.gen(function* () {
    const { handle } = yield* AppHandler;
    const start = yield* AppStart;
    yield* Effect.forkScoped(followConcurrency);
    const warm = Effect.andThen(start.ready, ready.open);
    yield* work({
      handler: (job) => handle(job),
      warm: shared.isEager ? warm : ready.open,
      isPersistent: Option.isSome(keep),
    });
  }).pipe(Effect.provide(services));
  const routes = endpointRoutes(name, ready).pipe(Layer.provide(Layer.succeedContext(services)));
  return { title: `${name}: ${url}/v2/${encodeURIComponent(name)}/runsync`, serve, routes };
});

/** A resource with HTTP routes, on its own server. */
const serveApi = Effect.fnUntraced(function* (app: App, server: Server, shared: Shared) {
  const services = yield* servicesOf(app, shared);
  const routes = yield* Effect.provide(deployedApiRoutes, services);
  yield* server.serve(Layer.empty, routes);
  const serve = Effect.gen(function* () {
    yield* (yield* Shutdown).requested;
    yield* finishRequests;
  }).pipe(Effect.provide(services));
  return { title: `${app.resource.name}: ${urlOf(shared.options.host, server.port)}`, serve };
});

/** Serves the resources of a deployed app on this machine until shutdown is requested. */
export const serveAppLocally = Effect.fn("serve.app")(
  function* (options: AppServing) {
    const apps = yield* Effect.catchTag(localApps(options.app), "AppStartFailed", refuse);
    const queues = apps.filter(({ resource }) => resource.kind === "queue");
    const apis = apps.filter(({ resource }) => resource.kind === "api");
    const hasQueue = queues.length > 0;
    // Code of the app calls its queues at the address of this server.
    const { server, url, access, environment } = yield* startServer(
      options,
      hasQueue ? { rewrite: chooseEndpoint } : {},
    );
    const shared: Shared = { options, environment, isEager: apps.length === 1 };
    const servedQueues = yield* Effect.forEach(queues, (app) => serveQueue(app, url, shared));
    if (hasQueue) {
      const routes = servedQueues.map((queue) => queue.routes);
      yield* server.serve(Layer.mergeAll(Layer.empty, ...routes), unknownRoute(queues));
    }
    const servedApis = yield* Effect.forEach(
      apis,
      Effect.fnUntraced(function* (app, index) {
        const isFirst = index === 0 && !hasQueue;
        const own = isFirst ? server : yield* endpointServer({ ...access, port: Option.none() });
        return yield* serveApi(app, own, shared);
      }),
    );
    const served = [...servedQueues, ...servedApis];
    const titles = served.map(({ title }) => `  ${title}`);
    yield* announce(url, options, ["Serving a deployed app:", ...titles]);
    if (Option.isNone(options.keep)) yield* Effect.forkScoped(logShutdown);
    yield* Effect.forEach(served, ({ serve }) => serve, {
      concurrency: "unbounded",
      discard: true,
    });
  },
  Effect.scoped,
  Effect.catchTags(SERVING_FAILURES),
);
