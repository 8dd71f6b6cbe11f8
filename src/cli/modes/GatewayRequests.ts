import { Effect, type Layer, Option } from "effect";

import { Drain } from "../../endpoint/Drain.ts";
import { endpointServer } from "../../endpoint/http/EndpointServer.ts";
import type { Fallback } from "../../endpoint/http/HttpGuard.ts";
import { SHUTDOWN_GRACE } from "../../queue/Draining.ts";

/** Only RunPod's proxy can reach the container. */
const HOST = "0.0.0.0";

/** Serves requests of RunPod's load balancer on these ports until the scope closes. */
export const serveGateway = Effect.fnUntraced(function* <E, R>(
  ports: ReadonlyArray<number>,
  routes: Layer.Layer<never, E, R>,
  fallback: Fallback,
) {
  for (const port of ports) {
    const server = yield* endpointServer({
      host: HOST,
      port: Option.some(port),
      keys: [],
      isBehindGateway: true,
    });
    yield* server.serve(routes, fallback);
    yield* Effect.logInfo(`Listening on ${HOST}:${server.port} for RunPod's load balancer`);
  }
});

/** Waits for running requests, at most as long as WORKER_SHUTDOWN_GRACE allows. */
export const finishRequests = Effect.gen(function* () {
  const drain = yield* Drain;
  const grace = yield* SHUTDOWN_GRACE.value;
  yield* drain.begin;
  const inTime = yield* Option.match(grace, {
    onNone: () => Effect.asSome(drain.requestsFinished),
    onSome: (limit) => Effect.timeoutOption(drain.requestsFinished, limit),
  });
  if (Option.isNone(inTime)) {
    yield* Effect.logWarning("Stopping requests that did not finish within WORKER_SHUTDOWN_GRACE");
  }
});
