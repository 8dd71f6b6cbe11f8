import { Duration, Effect, type Latch, Layer, Option } from "effect";
import { HttpRouter, HttpServerResponse } from "effect/http";
import { HttpApiBuilder, HttpApiScalar } from "effect/http-api";

import type { JobRequest, JobStatus } from "../domain/EndpointJob.ts";
import { Drain } from "./Drain.ts";
import { DocumentedApi, EndpointApi, EXAMPLE_JOB, NotFound } from "./EndpointApi.ts";
import { LoadBalancer, loadBalancerRoutes } from "./LoadBalancer.ts";
import { overloadedResponse, takeOverBody } from "./http/RequestBody.ts";
import type { JobCounts } from "./jobs/JobTable.ts";
import { type LocalJob, streamJson } from "./jobs/LocalJob.ts";
import { type JobNotFound, LocalQueue } from "./jobs/LocalQueue.ts";

/** The default time that a request waits for a job, and the bounds for the `wait` parameter. */
const DEFAULT_WAIT = Duration.seconds(90);
const WAIT_BOUNDS = { minimum: Duration.seconds(1), maximum: Duration.minutes(5) };

/** How long a request waits for values of a stream: RunPod's Python SDK times out after 10 seconds. */
const STREAM_TIMEOUT = Duration.seconds(5);

/** How long to wait; the parameter is in milliseconds. */
const waitOf = ({ wait }: { readonly wait?: number | undefined }): Duration.Duration =>
  Duration.clamp(wait === undefined ? DEFAULT_WAIT : Duration.millis(wait), WAIT_BOUNDS);

const json = (text: Uint8Array) =>
  HttpServerResponse.uint8Array(text, { contentType: "application/json" });

const jobResponse = (job: LocalJob) => json(job.toJson());

const exampleResponse = HttpServerResponse.jsonUnsafe(EXAMPLE_JOB);

const found = <A, R>(effect: Effect.Effect<A, JobNotFound, R>) =>
  Effect.mapError(effect, ({ message }) => new NotFound({ error: message }));

type Queue = LocalQueue["Service"];

const submit = (queue: Queue, request: JobRequest) =>
  Effect.uninterruptible(
    Effect.flatMap(takeOverBody, (body) => queue.submit(request, Option.getOrUndefined(body))),
  );

/** The state of the worker in RunPod's terms, and the number of jobs by state. */
const healthOf = (counts: Readonly<JobCounts>, isReady: boolean) => {
  const isBusy = counts.IN_PROGRESS > 0;
  return {
    jobs: {
      completed: counts.COMPLETED,
      failed: counts.FAILED,
      inProgress: counts.IN_PROGRESS,
      inQueue: counts.IN_QUEUE,
      retried: counts.retried,
    },
    workers: {
      idle: isReady && !isBusy ? 1 : 0,
      initializing: isReady ? 0 : 1,
      ready: isReady ? 1 : 0,
      running: isReady && isBusy ? 1 : 0,
      throttled: 0,
      unhealthy: 0,
    },
  };
};

const makeResponses = Effect.gen(function* () {
  const queue = yield* LocalQueue;
  const drain = yield* Drain;

  /** Responds with the state of a job; the client will poll again unless the job has finished. */
  const tracked = <A extends { readonly status: JobStatus }, R>(
    id: string,
    effect: Effect.Effect<A, JobNotFound, R>,
  ) => Effect.tap(found(effect), ({ status }) => drain.trackPolling(id, status));

  /** The same, but also knows the example job of the API documentation. */
  const view = <R>(id: string, effect: Effect.Effect<LocalJob, JobNotFound, R>) =>
    id === EXAMPLE_JOB.id
      ? Effect.succeed(exampleResponse)
      : Effect.map(tracked(id, effect), jobResponse);

  const stream = (id: string) =>
    id === EXAMPLE_JOB.id
      ? Effect.succeed({ status: EXAMPLE_JOB.status, stream: [] })
      : tracked(id, queue.stream(id, STREAM_TIMEOUT)).pipe(
          Effect.map(({ status, chunks }) => json(streamJson(status, chunks))),
          drain.trackRequest,
        );

  const retry = (id: string) =>
    id === EXAMPLE_JOB.id
      ? Effect.succeed(exampleResponse)
      : queue.retry(id).pipe(
          Effect.map(jobResponse),
          Effect.catchTag("QueueFull", () => overloadedResponse),
          found,
        );

  return { view, stream, retry };
});

const handlersFor = <R>(readiness: Effect.Effect<Latch.Latch, never, R>) =>
  HttpApiBuilder.group(
    EndpointApi,
    "jobs",
    Effect.fnUntraced(function* (group) {
      const queue = yield* LocalQueue;
      const ready = yield* readiness;
      const drain = yield* Drain;
      const { view, stream, retry } = yield* makeResponses;
      const health = Effect.map(queue.counts, (counts) => healthOf(counts, ready.isOpen()));

      return group.handleAll({
        run: ({ payload }) =>
          drain.admit(Effect.map(submit(queue, payload), ({ id, status }) => ({ id, status }))),
        runsync: ({ payload, query }) =>
          submit(queue, payload).pipe(
            Effect.flatMap(({ id }) => Effect.orDie(view(id, queue.wait(id, waitOf(query))))),
            drain.admit,
            drain.trackRequest,
          ),
        status: ({ params: { id } }) => view(id, queue.status(id)),
        statusSync: ({ params: { id }, query }) =>
          drain.trackRequest(view(id, queue.wait(id, waitOf(query)))),
        stream: ({ params: { id } }) => stream(id),
        cancel: ({ params: { id } }) => view(id, queue.cancel(id)),
        retry: ({ params: { id } }) => drain.admit(retry(id)),
        purgeQueue: () =>
          Effect.map(queue.purge, (removed) => ({ removed, status: "completed" as const })),
        health: () => health,
        metrics: () =>
          Effect.map(health, ({ workers }) => ({
            workers,
            readyWorkers: ready.isOpen() ? [queue.workerId] : [],
          })),
      });
    }),
  );

/** The routes for the jobs of a queue; the worker is ready when the latch opens. */
const jobRoutes = <R>(readiness: Effect.Effect<Latch.Latch, never, R>) =>
  HttpApiBuilder.layer(EndpointApi).pipe(Layer.provide(handlersFor(readiness)));

/** The same routes under another path. */
const under = <A, E, R>(path: string, routes: Layer.Layer<A, E, R>) =>
  Layer.fresh(routes).pipe(
    Layer.provide(
      Layer.effect(
        HttpRouter.HttpRouter,
        Effect.map(HttpRouter.HttpRouter, (router) => router.prefixed(path)),
      ),
    ),
  );

/** The routes for the jobs of one of several endpoints. */
export const endpointRoutes = (name: string, ready: Latch.Latch) =>
  under(`/v2/${encodeURIComponent(name)}`, jobRoutes(Effect.succeed(ready)));

const api = Layer.mergeAll(
  jobRoutes(Effect.map(LoadBalancer, ({ ready }) => ready)),
  loadBalancerRoutes,
);

/** The same routes as on RunPod. */
const prefixedApi = under("/v2/:endpoint", api);

/** An endpoint with its queue in this process: all routes, with and without the prefix, and the API documentation. */
export const localEndpointRoutes = Layer.mergeAll(
  api,
  prefixedApi,
  HttpApiScalar.layer(DocumentedApi, { path: "/docs" }),
);
