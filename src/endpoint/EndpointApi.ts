import { Schema } from "effect";
import {
  HttpApi,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpApiMiddleware,
  HttpApiSecurity,
  OpenApi,
} from "effect/http-api";

import { JobRequest, JobStatus, JobView } from "../domain/EndpointJob.ts";
import { FunctionResponse } from "../domain/FunctionResponse.ts";
import { LiveSource } from "./LiveApp.ts";

/** The job is unknown or expired; the body has the reason. */
export class NotFound extends Schema.Error<NotFound>("worker-tetra/endpoint/NotFound")(
  { error: Schema.String },
  { httpApiStatus: 404 },
) {}

const described = (summary: string, description?: string) =>
  OpenApi.annotations({ summary, ...(description === undefined ? {} : { description }) });

/** The example job of the API documentation; requests with its id always succeed. */
export const EXAMPLE_JOB: JobView = {
  id: "example",
  status: "COMPLETED",
  delayTime: 0,
  executionTime: 0,
  workerId: "example",
  retries: 0,
  output: "The result of the job",
};

const EXAMPLE_REQUEST = {
  function_name: "add",
  function_code: "def add(a, b):\n    return a + b\n",
  args: [1, 2],
  serialization_format: "json",
};

const id = { id: Schema.String.annotate({ examples: [EXAMPLE_JOB.id] }) };

const request = JobRequest.annotate({ examples: [{ input: EXAMPLE_REQUEST }] });

/** How long the response waits for the end of the job, in milliseconds; clamped to RunPod's bounds. */
const wait = { wait: Schema.optional(Schema.Finite) };

const count = Schema.Int;

/** The number of workers in each of RunPod's states. */
const WorkerCounts = Schema.Struct({
  idle: count,
  initializing: count,
  ready: count,
  running: count,
  throttled: count,
  unhealthy: count,
});

const Jobs = HttpApiGroup.make("jobs", { topLevel: true }).add(
  HttpApiEndpoint.post("run", "/run", {
    payload: request,
    success: Schema.Struct({ id: Schema.String, status: JobStatus }),
  }).annotateMerge(described("Submit a job", "Responds immediately. The limit is 10 MB.")),
  HttpApiEndpoint.post("runsync", "/runsync", {
    payload: request,
    query: wait,
    success: JobView,
  }).annotateMerge(
    described(
      "Submit a job and wait for it",
      "Responds when the job has finished, or with its state after `wait` milliseconds (default 90,000; 1,000 to 300,000). The limit is 20 MB.",
    ),
  ),
  HttpApiEndpoint.get("status", "/status/:id", {
    params: id,
    success: JobView,
    error: NotFound,
  }).annotateMerge(described("Get the state of a job", "Includes its progress or its result.")),
  HttpApiEndpoint.get("statusSync", "/status-sync/:id", {
    params: id,
    query: wait,
    success: JobView,
    error: NotFound,
  }).annotateMerge(described("Wait until a job has finished")),
  HttpApiEndpoint.get("stream", "/stream/:id", {
    params: id,
    success: Schema.Struct({
      status: JobStatus,
      stream: Schema.Array(Schema.Struct({ output: Schema.Json })),
    }),
    error: NotFound,
  }).annotateMerge(
    described(
      "Get the values of a generator",
      "Returns each value once, and waits up to 5 seconds for values. There are no more values when the status is final and the list is empty.",
    ),
  ),
  HttpApiEndpoint.post("cancel", "/cancel/:id", {
    params: id,
    success: JobView,
    error: NotFound,
  }).annotateMerge(described("Cancel a job")),
  HttpApiEndpoint.post("retry", "/retry/:id", {
    params: id,
    success: JobView,
    error: NotFound,
  }).annotateMerge(described("Retry a job that failed or timed out")),
  HttpApiEndpoint.post("purgeQueue", "/purge-queue", {
    success: Schema.Struct({ removed: count, status: Schema.Literal("completed") }),
  }).annotateMerge(described("Cancel all queued jobs")),
  HttpApiEndpoint.get("health", "/health", {
    success: Schema.Struct({
      jobs: Schema.Struct({
        completed: count,
        failed: count,
        inProgress: count,
        inQueue: count,
        retried: count,
      }),
      workers: WorkerCounts,
    }),
  }).annotateMerge(described("Count jobs and workers by state")),
  HttpApiEndpoint.get("metrics", "/metrics", {
    success: Schema.Struct({ workers: WorkerCounts, readyWorkers: Schema.Array(Schema.String) }),
  }).annotateMerge(described("List the workers that are ready")),
);

const execute = HttpApiEndpoint.post("execute", "/execute", {
  payload: Schema.Json.annotate({ examples: [EXAMPLE_REQUEST] }),
  success: FunctionResponse,
}).annotateMerge(
  described(
    "Run a function",
    "The request of a function or a class, bare or under `input`. The limit is 30 MB. The code is stopped when the client disconnects.",
  ),
);

const ping = HttpApiEndpoint.get("ping", "/ping", { success: Schema.Void }).annotateMerge(
  described("Check whether the worker is ready", "Status 200 if it is ready, 204 while it starts."),
);

/** For development sessions of SDK 2.0 only, so it is not documented. */
const sync = HttpApiEndpoint.post("sync", "/_runpod/sync", {
  payload: LiveSource,
  success: Schema.Struct({ status: Schema.Literal("synced"), hash: Schema.String }),
});

/** The routes of a worker behind a load balancer. */
export class LoadBalancerApi extends HttpApi.make("load-balancer").add(
  HttpApiGroup.make("functions", { topLevel: true }).add(execute, sync, ping),
) {}

/** The routes of an endpoint with a queue. */
export class EndpointApi extends HttpApi.make("endpoint").add(Jobs) {}

/** How clients send the API key. For documentation only: `HttpGuard` checks the key, also for unknown routes. */
class ApiKey extends HttpApiMiddleware.Service<ApiKey>()("worker-tetra/endpoint/ApiKey", {
  security: { bearer: HttpApiSecurity.bearer },
}) {}

/** The routes of `serve`, for the page with the API documentation. */
export class DocumentedApi extends HttpApi.make("documented")
  .add(Jobs.middleware(ApiKey))
  .add(HttpApiGroup.make("functions", { topLevel: true }).add(execute.middleware(ApiKey), ping))
  .annotateMerge(
    OpenApi.annotations({
      title: "worker-tetra",
      description:
        "A RunPod endpoint on this machine. Every route is also available under `/v2/{endpoint}` with any endpoint name; use that as the base URL of clients. The API key is WORKER_SERVE_KEY; without it, no key is required.",
    }),
  ) {}
