import { Effect, Latch, Layer, Option } from "effect";

import { endpointServer } from "../endpoint/EndpointServer.ts";
import { LoadBalancer, loadBalancerRoutes } from "../endpoint/LoadBalancer.ts";
import { RemoteExecutor } from "../execution/RemoteExecutor.ts";
import { JobEvents } from "../protocol/JobEvents.ts";
import { Fitness } from "../runpod/Fitness.ts";
import { functionHandler } from "../runpod/FunctionHandler.ts";
import { SHUTDOWN_GRACE } from "../runpod/Worker.ts";
import { liveOutput } from "./LiveOutput.ts";
import { checkCuda, prepare, tolerant } from "./Readiness.ts";
import { Shutdown } from "./Shutdown.ts";

/** RunPod's proxy is what clients reach; the container itself listens everywhere. */
const HOST = "0.0.0.0";

/** Carries out requests of a load balancer until somebody asks for an end; what is at work is finished first. */
export const balanced = Effect.fn("start.balanced")(function* (ports: ReadonlyArray<number>) {
  const executor = yield* RemoteExecutor;
  const shutdown = yield* Shutdown;
  const fitness = yield* Fitness;
  const grace = yield* SHUTDOWN_GRACE.value;
  const ready = Latch.makeUnsafe();
  const poisoned = Latch.makeUnsafe();
  const events = { ...liveOutput, poisoned: () => poisoned.openUnsafe() };
  const routes = loadBalancerRoutes.pipe(
    Layer.provide(
      Layer.succeed(LoadBalancer, {
        handle: (job) =>
          functionHandler(job).pipe(
            Effect.provideService(RemoteExecutor, executor),
            Effect.provideService(JobEvents, events),
          ),
        ready,
      }),
    ),
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
    yield* tolerant(prepare);
    yield* ready.open;
    for (;;) {
      yield* poisoned.await;
      yield* poisoned.close;
      yield* tolerant(checkCuda);
    }
  });
  yield* Effect.raceFirst(shutdown.requested, supervise);
  yield* ready.close;
  yield* Effect.logInfo("No more requests are taken; those at work are finished first");
}, Effect.scoped);
