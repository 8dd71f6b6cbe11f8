import type { RequestListener } from "node:http";

import { Deferred, Effect, Layer, SubscriptionRef } from "effect";

import { appRoutes } from "../../../src/endpoint/AppRoutes.ts";
import { type Availability, STARTING } from "../../../src/endpoint/Availability.ts";
import { Drain } from "../../../src/endpoint/Drain.ts";
import { makeAppProxy } from "../../../src/endpoint/http/AppProxy.ts";
import { endpointServer } from "../../../src/endpoint/http/EndpointServer.ts";
import { serverOptions } from "./TestEndpoint.ts";
import { unixServer } from "./UnixServer.ts";

/** The routes of a deployed app on a free port, for a state that the test sets. */
export const appEndpoint = Effect.fnUntraced(function* (
  options: { readonly healthPath?: string; readonly allowsExecute?: boolean } = {},
) {
  const state = yield* SubscriptionRef.make<Availability>(STARTING);
  const services = yield* Layer.build(Drain.layer);
  const drain = yield* Effect.provide(Drain, services);
  const fallback = yield* appRoutes(state, {
    healthPath: "/ping",
    allowsExecute: false,
    ...options,
  }).pipe(Effect.provide(services));
  const { port, serve } = yield* endpointServer({ ...serverOptions, isBehindGateway: true });
  yield* serve(Layer.empty, fallback);
  return { port, state, drain };
});

/** A running app whose server is in this process. */
export const testApp = Effect.fnUntraced(function* (
  listener: RequestListener,
  options: Parameters<typeof appEndpoint>[0] = {},
) {
  const endpoint = yield* appEndpoint(options);
  const app = yield* unixServer(listener);
  const end = yield* Deferred.make<string>();
  const proxy = makeAppProxy({
    socketPath: app.socketPath,
    responseHeaders: ["X-Runpod-Worker-Id", "worker-1"],
  });
  yield* SubscriptionRef.set(endpoint.state, {
    _tag: "Ready",
    app: { proxy, ended: Deferred.await(end) },
  });
  return { ...endpoint, app, end };
});
