import { Effect, Layer } from "effect";

import manifest from "../../../package.json" with { type: "json" };
import { Drain } from "../../endpoint/Drain.ts";
import { Fitness } from "../../health/Fitness.ts";
import { liveness } from "../process/Liveness.ts";
import { Shutdown } from "../process/Shutdown.ts";
import { deployedApiRoutes } from "./DeployedApi.ts";
import { finishRequests, serveGateway } from "./GatewayRequests.ts";
import { checkGpu, ensureAppStarts } from "./Readiness.ts";

/** Serves the HTTP routes of a deployed app until shutdown is requested, then waits for running requests. */
export const serveApp = Effect.fn("start.api")(function* (
  resource: string,
  ports: ReadonlyArray<number>,
) {
  const shutdown = yield* Shutdown;
  const fitness = yield* Fitness;
  yield* liveness;
  const services = yield* Layer.build(Drain.layer);
  yield* Effect.logInfo(
    `worker-tetra ${manifest.version} started: deployed app, resource ${resource}`,
  );
  yield* Effect.addFinalizer(() => Effect.logInfo("Worker stopped"));
  yield* fitness.check;
  const routes = yield* Effect.provide(deployedApiRoutes, services);
  yield* serveGateway(ports, Layer.empty, routes);
  const supervise = Effect.all([ensureAppStarts, checkGpu], {
    concurrency: "unbounded",
    discard: true,
  });
  yield* Effect.raceFirst(shutdown.requested, Effect.andThen(supervise, Effect.never));
  yield* Effect.logInfo("Draining: refusing new requests, waiting for running ones");
  yield* Effect.provide(finishRequests, services);
}, Effect.scoped);
