import { Effect, Latch, Layer, Option } from "effect";

import { both } from "../../domain/JobEvents.ts";
import { Drain } from "../../endpoint/Drain.ts";
import { LoadBalancer, loadBalancerRoutes } from "../../endpoint/LoadBalancer.ts";
import { endpointServer } from "../../endpoint/http/EndpointServer.ts";
import { makeFunctionHandler } from "../../functions/FunctionHandler.ts";
import { Fitness } from "../../health/Fitness.ts";
import { SHUTDOWN_GRACE } from "../../queue/Draining.ts";
import { liveOutput } from "../process/LiveOutput.ts";
import { liveness } from "../process/Liveness.ts";
import { Shutdown } from "../process/Shutdown.ts";
import { checkGpu, machineHealth, ensurePythonStarts, warmAll } from "./Readiness.ts";

/** Only RunPod's proxy can reach the container. */
const HOST = "0.0.0.0";

/** Serves requests from RunPod's load balancer until shutdown is requested, then waits for running requests. */
export const serveLoadBalancer = Effect.fn("start.balanced")(function* (
  ports: ReadonlyArray<number>,
) {
  const shutdown = yield* Shutdown;
  const fitness = yield* Fitness;
  const grace = yield* SHUTDOWN_GRACE.value;
  yield* liveness;
  const services = yield* Layer.build(Drain.layer);
  const drain = yield* Effect.provide(Drain, services);
  const ready = Latch.makeUnsafe();
  const { events, watch } = yield* machineHealth;
  const routes = loadBalancerRoutes.pipe(
    Layer.provide(LoadBalancer.layer(makeFunctionHandler, ready, both(liveOutput, events))),
    Layer.provide(Layer.succeedContext(services)),
  );
  yield* Effect.logInfo("Worker started");
  yield* Effect.addFinalizer(() => Effect.logInfo("Worker stopped"));
  for (const port of ports) {
    const server = yield* endpointServer({
      host: HOST,
      port: Option.some(port),
      keys: [],
      isBehindGateway: true,
    });
    yield* server.serve(routes);
    yield* Effect.logInfo(`Listening on ${HOST}:${server.port} for RunPod's load balancer`);
  }
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
  yield* drain.begin;
  yield* Effect.logInfo("Draining: refusing new requests, waiting for running ones");
  const inTime = yield* Option.match(grace, {
    onNone: () => Effect.asSome(drain.requestsFinished),
    onSome: (limit) => Effect.timeoutOption(drain.requestsFinished, limit),
  });
  if (Option.isNone(inTime)) {
    yield* Effect.logWarning("Stopping requests that did not finish within WORKER_SHUTDOWN_GRACE");
  }
}, Effect.scoped);
