import { randomUUID } from "node:crypto";

import { Context, Effect, type Latch, Layer, Option } from "effect";
import { HttpServerResponse } from "effect/http";
import { HttpApiBuilder } from "effect/http-api";

import type { EncodedResponse } from "../domain/EncodedResponse.ts";
import { inputOf, inputTextOf, type Job } from "../domain/Job.ts";
import { JobListener } from "../domain/JobEvents.ts";
import { formatSeconds } from "../queue/JobLog.ts";
import { stopwatch } from "../settings/SteadyClock.ts";
import { Drain } from "./Drain.ts";
import { LoadBalancerApi } from "./EndpointApi.ts";
import { failureResponse, pingResponse } from "./HealthCheck.ts";
import { LiveApp } from "./LiveApp.ts";
import { bodyBytes } from "./http/RequestBody.ts";

/** Handles requests without a queue. */
export class LoadBalancer extends Context.Service<
  LoadBalancer,
  {
    readonly handle: (job: Job) => Effect.Effect<EncodedResponse>;
    /** Opens when the worker is ready. */
    readonly ready: Latch.Latch;
  }
>()("worker-tetra/endpoint/LoadBalancer") {
  /**
   * Runs a handler for each request; `events` receives what happens in it. The handler must not keep the context of
   * this layer: it runs in that of the request, whose span is the parent of its spans.
   */
  static readonly layer = <R>(
    makeHandler: Effect.Effect<(job: Job) => Effect.Effect<EncodedResponse>, never, R>,
    ready: Latch.Latch,
    events: JobListener,
  ) =>
    Layer.effect(
      this,
      Effect.map(makeHandler, (handler) => ({
        handle: (job: Job) => Effect.provideService(handler(job), JobListener, events),
        ready,
      })),
    );
}

const handlers = HttpApiBuilder.group(
  LoadBalancerApi,
  "functions",
  Effect.fnUntraced(function* (group) {
    const { handle, ready } = yield* LoadBalancer;
    const live = yield* LiveApp;
    const drain = yield* Drain;
    return group.handleAll({
      execute: ({ payload }) => {
        const id = randomUUID();
        return Effect.gen(function* () {
          yield* Effect.logInfo("Request started");
          const elapsed = yield* stopwatch;
          const body = yield* bodyBytes;
          const inputText = Option.map(body, inputTextOf);
          const response = yield* Effect.onInterrupt(
            handle({
              id,
              input: inputOf(payload),
              ...(Option.isSome(inputText) ? { inputText: inputText.value } : {}),
            }),
            () => Effect.logInfo("Client disconnected: request stopped"),
          );
          yield* Effect.logInfo(`Request done in ${formatSeconds(yield* elapsed)}`);
          return HttpServerResponse.uint8Array(response.toJson(), {
            contentType: "application/json",
          });
        }).pipe(
          drain.admit,
          drain.trackRequest,
          Effect.withSpan("LoadBalancer.execute"),
          Effect.annotateLogs({ requestId: id }),
        );
      },
      sync: ({ payload }) =>
        live.sync(payload).pipe(
          Effect.match({
            onFailure: failureResponse,
            onSuccess: (hash) => HttpServerResponse.jsonUnsafe({ status: "synced", hash }),
          }),
          drain.admit,
          drain.trackRequest,
        ),
      ping: () => pingResponse(ready),
    });
  }),
);

/** The routes of a worker behind a load balancer: requests run immediately, without a queue. */
export const loadBalancerRoutes = HttpApiBuilder.layer(LoadBalancerApi).pipe(
  Layer.provide(handlers),
);
