import { randomUUID } from "node:crypto";

import { Clock, Context, Effect, type Latch, Layer } from "effect";
import { HttpServerResponse } from "effect/http";
import { HttpApiBuilder } from "effect/http-api";

import type { FunctionAnswer } from "../domain/FunctionAnswer.ts";
import { inputOf, type Job } from "../domain/Job.ts";
import { JobListener } from "../domain/JobEvents.ts";
import { Drain } from "./Drain.ts";
import { LoadBalancerApi } from "./EndpointApi.ts";

/** What is done with a request, and whether that can be done already. */
export class LoadBalancer extends Context.Service<
  LoadBalancer,
  {
    readonly handle: (job: Job) => Effect.Effect<FunctionAnswer>;
    /** Open from when the worker is ready. */
    readonly ready: Latch.Latch;
  }
>()("worker-tetra/endpoint/LoadBalancer") {
  /** Runs a handler for each request; `events` receives what happens in it. */
  static readonly layer = <R>(
    handler: (job: Job) => Effect.Effect<FunctionAnswer, never, R>,
    ready: Latch.Latch,
    events: JobListener,
  ) =>
    Layer.effect(
      this,
      Effect.map(Effect.context<R>(), (services) => ({
        handle: (job: Job) =>
          handler(job).pipe(
            Effect.provideService(JobListener, events),
            Effect.provideContext(services),
          ),
        ready,
      })),
    );
}

const handlers = HttpApiBuilder.group(
  LoadBalancerApi,
  "functions",
  Effect.fnUntraced(function* (group) {
    const { handle, ready } = yield* LoadBalancer;
    const drain = yield* Drain;
    return group.handleAll({
      execute: ({ payload }) => {
        const id = randomUUID();
        return Effect.gen(function* () {
          yield* Effect.logInfo("Request started");
          const started = yield* Clock.currentTimeMillis;
          const answer = yield* Effect.onInterrupt(handle({ id, input: inputOf(payload) }), () =>
            Effect.logInfo("The client hung up: the request was stopped"),
          );
          const seconds = ((yield* Clock.currentTimeMillis) - started) / 1000;
          yield* Effect.logInfo(`Request done in ${seconds.toFixed(3)} s`);
          return HttpServerResponse.uint8Array(answer.toJson(), {
            contentType: "application/json",
          });
        }).pipe(
          drain.admit,
          drain.attend,
          Effect.withSpan("LoadBalancer.execute"),
          Effect.annotateLogs({ requestId: id }),
        );
      },
      ping: () =>
        Effect.sync(() => HttpServerResponse.empty({ status: ready.isOpen() ? 200 : 204 })),
    });
  }),
);

/** The routes of a worker behind a load balancer: requests are carried out as they come. */
export const loadBalancerRoutes = HttpApiBuilder.layer(LoadBalancerApi).pipe(
  Layer.provide(handlers),
);
