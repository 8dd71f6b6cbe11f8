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

/** There is no such job; the body has the reason. */
export class NotFound extends Schema.Error<NotFound>("worker-tetra/endpoint/NotFound")(
  { error: Schema.String },
  { httpApiStatus: 404 },
) {}

const described = (summary: string, description?: string) =>
  OpenApi.annotations({ summary, ...(description === undefined ? {} : { description }) });

/** The example job in the API documentation; requests with its id always succeed. */
export const EXAMPLE_JOB: JobView = {
  id: "example",
  status: "COMPLETED",
  delayTime: 0,
  executionTime: 0,
  workerId: "example",
  retries: 0,
  output: "The result of a job is here.",
};

const EXAMPLE_REQUEST = {
  function_name: "add",
  function_code: "def add(a, b):\n    return a + b\n",
  args: [1, 2],
  serialization_format: "json",
};

const id = { id: Schema.String.annotate({ examples: [EXAMPLE_JOB.id] }) };

const request = JobRequest.annotate({ examples: [{ input: EXAMPLE_REQUEST }] });

/** How long the response may wait for the end of the job, in milliseconds; limited to RunPod's bounds. */
const wait = { wait: Schema.optional(Schema.Finite) };

const count = Schema.Int;

/** RunPod's states of a worker, each with how many are in it. */
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
  }).annotateMerge(described("Hand in a job", "Answers at once; 10 MB at most.")),
  HttpApiEndpoint.post("runsync", "/runsync", {
    payload: request,
    query: wait,
    success: JobView,
  }).annotateMerge(
    described(
      "Hand in a job and wait for it",
      "Answers with its end, or after `wait` milliseconds (90,000 unless told, 1,000 to 300,000) with its state; 20 MB at most.",
    ),
  ),
  HttpApiEndpoint.get("status", "/status/:id", {
    params: id,
    success: JobView,
    error: NotFound,
  }).annotateMerge(described("The state of a job", "With its progress, or its result.")),
  HttpApiEndpoint.get("statusSync", "/status-sync/:id", {
    params: id,
    query: wait,
    success: JobView,
    error: NotFound,
  }).annotateMerge(described("Wait for the end of a job")),
  HttpApiEndpoint.get("stream", "/stream/:id", {
    params: id,
    success: Schema.Struct({
      status: JobStatus,
      stream: Schema.Array(Schema.Struct({ output: Schema.Json })),
    }),
    error: NotFound,
  }).annotateMerge(
    described(
      "Values of a generator",
      "Each once; waits up to 5 seconds for some. Nothing more comes when the status is final and there are none.",
    ),
  ),
  HttpApiEndpoint.post("cancel", "/cancel/:id", {
    params: id,
    success: JobView,
    error: NotFound,
  }).annotateMerge(described("Stop a job")),
  HttpApiEndpoint.post("retry", "/retry/:id", {
    params: id,
    success: JobView,
    error: NotFound,
  }).annotateMerge(described("Run a job again that failed or timed out")),
  HttpApiEndpoint.post("purgeQueue", "/purge-queue", {
    success: Schema.Struct({ removed: count, status: Schema.Literal("completed") }),
  }).annotateMerge(described("Cancel all jobs that have not begun")),
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
  }).annotateMerge(described("Jobs and workers in numbers")),
  HttpApiEndpoint.get("metrics", "/metrics", {
    success: Schema.Struct({ workers: WorkerCounts, readyWorkers: Schema.Array(Schema.String) }),
  }).annotateMerge(described("Which workers are ready")),
);

const execute = HttpApiEndpoint.post("execute", "/execute", {
  payload: Schema.Json.annotate({ examples: [EXAMPLE_REQUEST] }),
  success: FunctionResponse,
}).annotateMerge(
  described(
    "Run a function",
    "The request of a function or a class, bare or under `input`; 30 MB at most. The code is stopped when the client hangs up.",
  ),
);

const ping = HttpApiEndpoint.get("ping", "/ping", { success: Schema.Void }).annotateMerge(
  described("Whether the worker is ready", "200 when it is, 204 while it starts."),
);

/** The routes of a worker behind a load balancer. */
export class LoadBalancerApi extends HttpApi.make("load-balancer").add(
  HttpApiGroup.make("functions", { topLevel: true }).add(execute, ping),
) {}

/** The routes of an endpoint with a queue. */
export class EndpointApi extends HttpApi.make("endpoint").add(Jobs) {}

/** How clients send the key. Documentation only: `HttpGuard` checks the key, also for unknown routes. */
class ApiKey extends HttpApiMiddleware.Service<ApiKey>()("worker-tetra/endpoint/ApiKey", {
  security: { bearer: HttpApiSecurity.bearer },
}) {}

/** All routes of `serve`, for the page about them. */
export class DocumentedApi extends HttpApi.make("documented")
  .add(Jobs.middleware(ApiKey))
  .add(HttpApiGroup.make("functions", { topLevel: true }).add(execute.middleware(ApiKey), ping))
  .annotateMerge(
    OpenApi.annotations({
      title: "worker-tetra",
      description:
        "A RunPod endpoint on this machine. Every route is also available under `/v2/{endpoint}`, with any name for the endpoint: that is the base address of clients. The key is WORKER_SERVE_KEY; if it is not set, no key is required.",
    }),
  ) {}
