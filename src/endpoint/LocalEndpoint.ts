import { Effect, Layer, Option } from "effect";
import { HttpRouter, HttpServerResponse } from "effect/http";
import { HttpApiBuilder, HttpApiScalar } from "effect/http-api";

import type { JobRequest, JobStatus } from "../domain/EndpointJob.ts";
import { Drain } from "./Drain.ts";
import { DocumentedApi, EndpointApi, EXAMPLE_JOB, NotFound } from "./EndpointApi.ts";
import { LoadBalancer, loadBalancerRoutes } from "./LoadBalancer.ts";
import { overloadedResponse, takeOverBody } from "./http/RequestBody.ts";
import { type LocalJob, streamJson } from "./jobs/LocalJob.ts";
import { type JobNotFound, LocalQueue } from "./jobs/LocalQueue.ts";

/** How long a client may wait for a job: unless it says, at least and at most, in milliseconds. */
const WAIT = 90_000;
const SHORTEST_WAIT = 1000;
const LONGEST_WAIT = 300_000;

/** How long a stream is held open without a value: Python's SDK gives up after 10 seconds; milliseconds. */
const STREAM_HOLD = 5000;

const waitOf = ({ wait = WAIT }: { readonly wait?: number | undefined }): number =>
  Math.min(LONGEST_WAIT, Math.max(SHORTEST_WAIT, wait));

const json = (text: Uint8Array) =>
  HttpServerResponse.uint8Array(text, { contentType: "application/json" });

/** The response with a job. */
const jobResponse = (job: LocalJob) => json(job.toJson());

const exampleResponse = HttpServerResponse.jsonUnsafe(EXAMPLE_JOB);

const found = <A, R>(effect: Effect.Effect<A, JobNotFound, R>) =>
  Effect.mapError(effect, ({ message }) => new NotFound({ error: message }));

const handlers = HttpApiBuilder.group(
  EndpointApi,
  "jobs",
  Effect.fnUntraced(function* (group) {
    const queue = yield* LocalQueue;
    const { ready } = yield* LoadBalancer;
    const drain = yield* Drain;

    /** The response to a client about its job; the client will ask again unless the job has ended. */
    const tracked = <A extends { readonly status: JobStatus }, R>(
      id: string,
      effect: Effect.Effect<A, JobNotFound, R>,
    ) => Effect.tap(found(effect), ({ status }) => drain.follow(id, status));

    const workers = Effect.gen(function* () {
      const counts = yield* queue.counts;
      const isReady = ready.isOpen();
      const isBusy = counts.IN_PROGRESS > 0;
      return {
        idle: isReady && !isBusy ? 1 : 0,
        initializing: isReady ? 0 : 1,
        ready: isReady ? 1 : 0,
        running: isReady && isBusy ? 1 : 0,
        throttled: 0,
        unhealthy: 0,
      };
    });

    /** The same, with the example job of the API documentation. */
    const view = <R>(id: string, effect: Effect.Effect<LocalJob, JobNotFound, R>) =>
      id === EXAMPLE_JOB.id
        ? Effect.succeed(exampleResponse)
        : Effect.map(tracked(id, effect), jobResponse);

    const submit = (request: JobRequest) =>
      Effect.uninterruptible(
        Effect.flatMap(takeOverBody, (body) => queue.submit(request, Option.getOrUndefined(body))),
      );

    return group.handleAll({
      run: ({ payload }) =>
        drain.admit(Effect.map(submit(payload), ({ id, status }) => ({ id, status }))),
      runsync: ({ payload, query }) =>
        Effect.gen(function* () {
          const { id } = yield* submit(payload);
          return yield* Effect.orDie(view(id, queue.wait(id, waitOf(query))));
        }).pipe(drain.admit, drain.attend),
      status: ({ params: { id } }) => view(id, queue.status(id)),
      statusSync: ({ params: { id }, query }) =>
        drain.attend(view(id, queue.wait(id, waitOf(query)))),
      stream: ({ params: { id } }) => {
        if (id === EXAMPLE_JOB.id)
          return Effect.succeed({ status: EXAMPLE_JOB.status, stream: [] });
        return tracked(id, queue.stream(id, STREAM_HOLD)).pipe(
          Effect.map(({ status, chunks }) => json(streamJson(status, chunks))),
          drain.attend,
        );
      },
      cancel: ({ params: { id } }) => view(id, queue.cancel(id)),
      retry: ({ params: { id } }) =>
        drain.admit(
          id === EXAMPLE_JOB.id
            ? Effect.succeed(exampleResponse)
            : queue.retry(id).pipe(
                Effect.map(jobResponse),
                Effect.catchTag("QueueFull", () => overloadedResponse),
                found,
              ),
        ),
      purgeQueue: () =>
        Effect.map(queue.purge, (removed) => ({ removed, status: "completed" as const })),
      health: Effect.fnUntraced(function* () {
        const counts = yield* queue.counts;
        return {
          jobs: {
            completed: counts.COMPLETED,
            failed: counts.FAILED,
            inProgress: counts.IN_PROGRESS,
            inQueue: counts.IN_QUEUE,
            retried: counts.retried,
          },
          workers: yield* workers,
        };
      }),
      metrics: () =>
        Effect.map(workers, (counts) => ({
          workers: counts,
          readyWorkers: ready.isOpen() ? [queue.workerId] : [],
        })),
    });
  }),
);

const api = Layer.mergeAll(
  HttpApiBuilder.layer(EndpointApi).pipe(Layer.provide(handlers)),
  loadBalancerRoutes,
);

/** The same routes once more, as RunPod's own address has them. */
const underRunPodsPath = Layer.fresh(api).pipe(
  Layer.provide(
    Layer.effect(
      HttpRouter.HttpRouter,
      Effect.map(HttpRouter.HttpRouter, (router) => router.prefixed("/v2/:endpoint")),
    ),
  ),
);

/** An endpoint with its queue in this process: all routes, bare and as RunPod has them, and a page about them. */
export const localEndpointRoutes = Layer.mergeAll(
  api,
  underRunPodsPath,
  HttpApiScalar.layer(DocumentedApi, { path: "/docs" }),
);
