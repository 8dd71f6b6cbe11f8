import { Effect, Latch, Layer } from "effect";

import { liveAppLayer } from "../../apps/LiveLaunch.ts";
import { both } from "../../domain/JobEvents.ts";
import { balancedLiveRoutes } from "../../endpoint/AppRoutes.ts";
import { Drain } from "../../endpoint/Drain.ts";
import { LoadBalancer, loadBalancerRoutes } from "../../endpoint/LoadBalancer.ts";
import { makeFunctionHandler } from "../../functions/FunctionHandler.ts";
import { Fitness } from "../../health/Fitness.ts";
import { liveOutput } from "../process/LiveOutput.ts";
import { liveness } from "../process/Liveness.ts";
import { Shutdown } from "../process/Shutdown.ts";
import { finishRequests, serveGateway } from "./GatewayRequests.ts";
import { healthCheckPath } from "./GatewaySettings.ts";
import { checkGpu, machineHealth, ensurePythonStarts, readAhead, warmAll } from "./Readiness.ts";

/** Serves requests from RunPod's load balancer until shutdown is requested, then waits for running requests. */
export const serveLoadBalancer = Effect.fn("start.balanced")(function* (
  ports: ReadonlyArray<number>,
) {
  const shutdown = yield* Shutdown;
  const fitness = yield* Fitness;
  yield* liveness;
  yield* readAhead;
  const services = yield* Layer.build(Layer.merge(Drain.layer, liveAppLayer));
  const ready = Latch.makeUnsafe();
  const { events, watch } = yield* machineHealth;
  const routes = loadBalancerRoutes.pipe(
    Layer.provide(LoadBalancer.layer(makeFunctionHandler, ready, both(liveOutput, events))),
    Layer.provide(Layer.succeedContext(services)),
  );
  const fallback = yield* Effect.provide(
    balancedLiveRoutes(yield* healthCheckPath, ready),
    services,
  );
  yield* Effect.logInfo("Worker started");
  yield* Effect.addFinalizer(() => Effect.logInfo("Worker stopped"));
  yield* serveGateway(ports, routes, fallback);
  const supervise = Effect.gen(function* () {
    yield* fitness.check;
    yield* Effect.all([Effect.andThen(ensurePythonStarts, warmAll), checkGpu], {
      concurrency: "unbounded",
      discard: true,
    });
    yield* ready.open;
    return yield* watch;
  });
  yield* Effect.raceFirst(shutdown.requested, supervise);
  yield* ready.close;
  yield* Effect.logInfo("Draining: refusing new requests, waiting for running ones");
  yield* Effect.provide(finishRequests, services);
}, Effect.scoped);
