import { Effect, Latch, Layer, Option } from "effect";

import { endpointServer } from "../endpoint/EndpointServer.ts";
import { LoadBalancer, loadBalancerRoutes } from "../endpoint/LoadBalancer.ts";
import { both } from "../protocol/JobEvents.ts";
import { Fitness } from "../runpod/Fitness.ts";
import { SHUTDOWN_GRACE } from "../runpod/Worker.ts";
import { liveness } from "./Liveness.ts";
import { liveOutput } from "./LiveOutput.ts";
import { checkGpu, machineHealth, trialLaunch, warmAll } from "./Readiness.ts";
import { Shutdown } from "./Shutdown.ts";

/** RunPod's proxy is what clients reach; the container itself listens everywhere. */
const HOST = "0.0.0.0";

/** Carries out requests of a load balancer until somebody asks for an end; what is at work is finished first. */
export const balanced = Effect.fn("start.balanced")(function* (ports: ReadonlyArray<number>) {
  const shutdown = yield* Shutdown;
  const fitness = yield* Fitness;
  const grace = yield* SHUTDOWN_GRACE.value;
  yield* liveness;
  const ready = Latch.makeUnsafe();
  const { events, watch } = yield* machineHealth;
  const routes = loadBalancerRoutes.pipe(
    Layer.provide(LoadBalancer.layer(ready, both(liveOutput, events))),
  );
  for (const port of ports) {
    const server = yield* endpointServer({
      host: HOST,
      port: Option.some(port),
      key: Option.none(),
      isLoopback: false,
      grace,
    });
    yield* server.serve(routes);
    yield* Effect.logInfo(`Listening on ${HOST}:${server.port} for RunPod's load balancer`);
  }
  const supervise = Effect.gen(function* () {
    yield* fitness.check;
    yield* Effect.all([Effect.andThen(trialLaunch, warmAll), checkGpu], {
      concurrency: "unbounded",
      discard: true,
    });
    yield* ready.open;
    return yield* watch;
  });
  yield* Effect.raceFirst(shutdown.requested, supervise);
  yield* ready.close;
  yield* Effect.logInfo("No more requests are taken; those at work are finished first");
}, Effect.scoped);
