import { Effect, Layer, Option } from "effect";

import manifest from "../../../package.json" with { type: "json" };
import { AppStart, isMachineFault } from "../../apps/AppStart.ts";
import { Drain } from "../../endpoint/Drain.ts";
import { endpointServer } from "../../endpoint/http/EndpointServer.ts";
import { Fitness } from "../../health/Fitness.ts";
import { Unfit } from "../../health/Unfit.ts";
import { liveness } from "../process/Liveness.ts";
import { Shutdown } from "../process/Shutdown.ts";
import { deployedApi } from "./DeployedApi.ts";
import { finishRequests, GATEWAY_HOST } from "./GatewayRequests.ts";
import { checkGpu } from "./Readiness.ts";

/** Fails if the machine can't run Python; other failures of the app are the responses to its clients. */
const ensurePython = Effect.gen(function* () {
  const { ready } = yield* AppStart;
  const { refuse } = yield* Fitness;
  yield* Effect.catch(ready, (failure) =>
    isMachineFault(failure)
      ? refuse(new Unfit({ check: "python", reason: failure.reason }))
      : Effect.void,
  );
});

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
  const { routes } = yield* Effect.provide(deployedApi, services);
  for (const port of ports) {
    const server = yield* endpointServer({
      host: GATEWAY_HOST,
      port: Option.some(port),
      keys: [],
      isBehindGateway: true,
    });
    yield* server.serve(Layer.empty, routes);
    yield* Effect.logInfo(`Listening on ${GATEWAY_HOST}:${server.port} for RunPod's load balancer`);
  }
  const supervise = Effect.all([ensurePython, checkGpu], {
    concurrency: "unbounded",
    discard: true,
  });
  yield* Effect.raceFirst(shutdown.requested, Effect.andThen(supervise, Effect.never));
  yield* Effect.logInfo("Draining: refusing new requests, waiting for running ones");
  yield* Effect.provide(finishRequests, services);
}, Effect.scoped);
