import { Console, Effect, Layer, Option, References } from "effect";
import { Command, Flag } from "effect/cli";

import { AppHandler } from "../../apps/AppHandler.ts";
import { AppStart } from "../../apps/AppStart.ts";
import type { Job } from "../../domain/Job.ts";
import { JobListener } from "../../domain/JobEvents.ts";
import { RemoteExecutor } from "../../functions/RemoteExecutor.ts";
import { Fitness } from "../../health/Fitness.ts";
import { BackgroundWork } from "../../platform/BackgroundWork.ts";
import { abandonedFolders } from "../../platform/files/AbandonedFolders.ts";
import { QueueWorker } from "../../queue/QueueWorker.ts";
import { Webhooks } from "../../queue/runpod/Webhooks.ts";
import { RunnerPool } from "../../runner/RunnerPool.ts";
import { AppRunner } from "../../runner/apps/AppRunner.ts";
import { deployedResource } from "../../settings/DeployedResource.ts";
import { LOCAL_LIMIT } from "../../settings/ResponseLimits.ts";
import { Workspace } from "../../workspace/Workspace.ts";
import { ReadAhead } from "../../workspace/profile/ReadAhead.ts";
import { takeAppJobs } from "../modes/DeployedQueueMode.ts";
import { gatewayPorts, isLoadBalanced } from "../modes/GatewaySettings.ts";
import { takeJobs } from "../modes/QueueMode.ts";
import { Failed } from "../process/CommandFailure.ts";
import { liveOutput } from "../process/LiveOutput.ts";
import { testInput } from "../requests/TestInput.ts";
import { serveEndpoint } from "./serve.ts";

const failing = ({ message }: { readonly message: string }) =>
  Effect.andThen(Effect.logError(message), Effect.fail(new Failed({ exitCode: 1 })));

/** Handlers of the errors of modes that take jobs, which log why the machine is unfit. */
const QUEUE_FAILURES = { Unfit: () => Effect.fail(new Failed({ exitCode: 1 })) };

/** Handlers of the errors of modes behind a load balancer. */
const GATEWAY_FAILURES = { Unfit: failing, ListenFailed: failing };

/** Runs one job of a deployed app, and prints its result as one line on stdout. */
const runAppOnce = Effect.fn("start.once")(function* (job: Job) {
  const { handle } = yield* AppHandler;
  const output = yield* Effect.provideService(handle(job, LOCAL_LIMIT), JobListener, liveOutput);
  yield* Console.log(Buffer.from(output.toResult(false)).toString());
  if (output.error !== null) return yield* new Failed({ exitCode: 1 });
});

/** Runs one job, and prints its response as one line on stdout. */
const runOnce = Effect.fn("start.once")(function* (job: Job) {
  const executor = yield* RemoteExecutor;
  const response = yield* Effect.provideService(
    executor.execute(job.input, job.inputText),
    JobListener,
    liveOutput,
  );
  yield* Console.log(JSON.stringify(response));
  if (response.error !== null) return yield* new Failed({ exitCode: 1 });
});

/** The port of a load-balanced worker if PORT is not set, as upstream's. */
const DEFAULT_PORT = 80;

/** Serves a deployed app: jobs from the queue, or requests from the load balancer. */
const startApp = Effect.fnUntraced(function* (
  resource: string,
  hasQueue: boolean,
  ports: ReadonlyArray<number>,
) {
  if (hasQueue && !(yield* isLoadBalanced)) {
    return yield* Effect.catchTags(takeAppJobs(resource), QUEUE_FAILURES);
  }
  // Loaded on demand: a worker with a queue needs no server.
  const { serveApp } = yield* Effect.promise(() => import("../modes/DeployedApiMode.ts"));
  return yield* Effect.catchTags(
    serveApp(resource, ports.length === 0 ? [DEFAULT_PORT] : ports),
    GATEWAY_FAILURES,
  );
});

const NO_QUEUE =
  "There is no queue to take jobs from: RUNPOD_WEBHOOK_GET_JOB is not set. RunPod sets it. " +
  "To run a test job, use --test_input, RUNPOD_TEST_INPUT or the file test_input.json, or run `worker-tetra run`. To start a local endpoint, run `worker-tetra serve`.";

const LEVELS = { DEBUG: "Debug", INFO: "Info", WARN: "Warn", ERROR: "Error" } as const;

const FLAGS = {
  testInput: Flag.String("test_input").pipe(
    Flag.withDescription(
      'Run one job, such as {"input": …}, and exit. Exit code 0: success, 1: failure',
    ),
    Flag.optional,
  ),
  serveApi: Flag.Boolean("rp_serve_api").pipe(
    Flag.withDescription("Same as the serve command, for compatibility with RunPod's Python SDK"),
    Flag.withDefault(false),
  ),
  apiHost: Flag.String("rp_api_host").pipe(
    Flag.withDescription("Same as serve --host"),
    Flag.withDefault("127.0.0.1"),
  ),
  apiPort: Flag.Int("rp_api_port").pipe(
    Flag.withDescription("Same as serve --port"),
    Flag.optional,
  ),
  apiConcurrency: Flag.Int("rp_api_concurrency").pipe(
    Flag.withDescription("Same as serve --concurrency"),
    Flag.optional,
  ),
  logLevel: Flag.Literals("rp_log_level", ["DEBUG", "INFO", "WARN", "ERROR"]).pipe(
    Flag.withDescription("Same as --log-level, for compatibility with RunPod's Python SDK"),
    Flag.optional,
  ),
} as const;

interface Flags {
  readonly testInput: Option.Option<string>;
  readonly serveApi: boolean;
  readonly apiHost: string;
  readonly apiPort: Option.Option<number>;
  readonly apiConcurrency: Option.Option<number>;
  readonly logLevel: Option.Option<keyof typeof LEVELS>;
}

const handler = Effect.fn("start")(
  function* (flags: Flags) {
    const webhooks = yield* Webhooks;
    if (flags.serveApi) {
      return yield* serveEndpoint({
        host: flags.apiHost,
        port: flags.apiPort,
        concurrency: flags.apiConcurrency,
        keep: Option.none(),
        insecure: false,
        app: Option.none(),
        resource: Option.none(),
      });
    }
    const hasQueue = Option.isSome(webhooks.take(1, false));
    const ports = yield* gatewayPorts;
    const job = yield* Effect.catchTag(
      testInput(flags.testInput, hasQueue || ports.length > 0),
      "TestInputInvalid",
      failing,
    );
    const app = yield* deployedResource;
    if (Option.isSome(job)) {
      return yield* Option.isSome(app) ? runAppOnce(job.value) : runOnce(job.value);
    }
    if (Option.isSome(app)) return yield* startApp(app.value, hasQueue, ports);
    if (hasQueue) return yield* Effect.catchTags(takeJobs, QUEUE_FAILURES);
    if (ports.length > 0) {
      // Loaded on demand: a worker with a queue needs no server.
      const { serveLoadBalancer } = yield* Effect.promise(
        () => import("../modes/LoadBalancerMode.ts"),
      );
      return yield* Effect.catchTags(serveLoadBalancer(ports), GATEWAY_FAILURES);
    }
    return yield* failing({ message: NO_QUEUE });
  },
  (effect, { logLevel }) =>
    Option.match(logLevel, {
      onNone: () => effect,
      onSome: (level) => Effect.provideService(effect, References.MinimumLogLevel, LEVELS[level]),
    }),
);

export const start = Command.make("start", FLAGS, handler).pipe(
  Command.withDescription("Take jobs from RunPod's queue, run them and return the results"),
  Command.withExamples([
    { command: "worker-tetra start", description: "Start the worker as RunPod does" },
    {
      command: `worker-tetra start --test_input '{"input": {…}}'`,
      description: "Run one test job",
    },
  ]),
);

/** Runs if no command is given. */
export const startByDefault = handler({
  testInput: Option.none(),
  serveApi: false,
  apiHost: "127.0.0.1",
  apiPort: Option.none(),
  apiConcurrency: Option.none(),
  logLevel: Option.none(),
});

export const startLayer = Layer.mergeAll(
  abandonedFolders,
  BackgroundWork.layer,
  QueueWorker.layer,
  Webhooks.layer,
  Fitness.layer,
  RemoteExecutor.layer,
  RunnerPool.layer,
  ReadAhead.layer,
  Workspace.layer,
  AppStart.layer,
  AppHandler.layer,
  AppRunner.layer,
);
