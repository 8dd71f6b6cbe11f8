import { Effect, Latch, Layer, Option } from "effect";

import { liveAppLayer } from "../../apps/LiveLaunch.ts";
import { liveRoutes } from "../../endpoint/AppRoutes.ts";
import { Drain } from "../../endpoint/Drain.ts";
import { LoadBalancer } from "../../endpoint/LoadBalancer.ts";
import { localEndpointRoutes } from "../../endpoint/LocalEndpoint.ts";
import { functionHandler, makeFunctionHandler } from "../../functions/FunctionHandler.ts";
import { RemoteExecutor } from "../../functions/RemoteExecutor.ts";
import { RunnerPool } from "../../runner/RunnerPool.ts";
import type { Environment } from "../../settings/Environment.ts";
import { ReadAhead } from "../../workspace/profile/ReadAhead.ts";
import { liveOutput } from "../process/LiveOutput.ts";
import {
  announce,
  queueLayer,
  SERVING_FAILURES,
  type ServingOptions,
  startServer,
} from "./LocalServing.ts";
import { logShutdown, work } from "./LocalWork.ts";
import { readAhead } from "./Readiness.ts";

/** A worker with a local queue, and the services of the endpoint's routes. */
const layerOf = (environment: Layer.Layer<Environment>, keep: Option.Option<string>) =>
  // Not shared with layers that use the original environment variables.
  Layer.fresh(
    Layer.mergeAll(
      queueLayer(keep),
      RemoteExecutor.layer,
      RunnerPool.layer,
      ReadAhead.layer,
      Drain.layer,
      liveAppLayer,
    ).pipe(Layer.provideMerge(environment)),
  );

/** Serves a RunPod endpoint on this machine until shutdown is requested. */
export const serveLocally = Effect.fn("serve")(
  function* (options: ServingOptions) {
    const { keep } = options;
    const { server, url, environment } = yield* startServer(options);
    const services = yield* Layer.build(layerOf(environment, keep));
    yield* Effect.provide(readAhead, services);
    const ready = Latch.makeUnsafe();
    yield* server.serve(
      localEndpointRoutes.pipe(
        Layer.provide(LoadBalancer.layer(makeFunctionHandler, ready, liveOutput)),
        Layer.provide(Layer.succeedContext(services)),
      ),
      yield* Effect.provide(liveRoutes, services),
    );
    yield* announce(url, options, [`Serving a RunPod endpoint on ${url} (routes: ${url}/docs)`]);
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
  Effect.catchTags(SERVING_FAILURES),
);
