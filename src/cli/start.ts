import { Array, Console, Effect, Latch, Layer, Option, Ref, References } from "effect";
import { Command, Flag } from "effect/cli";

import manifest from "../../package.json" with { type: "json" };
import { PythonRunner } from "../execution/PythonRunner.ts";
import { RemoteExecutor } from "../execution/RemoteExecutor.ts";
import type { Job } from "../protocol/Job.ts";
import { both, JobEvents } from "../protocol/JobEvents.ts";
import { Fitness, type Unfit } from "../runpod/Fitness.ts";
import { functionHandler } from "../runpod/FunctionHandler.ts";
import { Webhooks } from "../runpod/Webhooks.ts";
import { Worker } from "../runpod/Worker.ts";
import { CONCURRENCY } from "../settings/Concurrency.ts";
import * as Setting from "../settings/Setting.ts";
import { ENDPOINT_ID } from "../workspace/Volume.ts";
import { Workspace } from "../workspace/Workspace.ts";
import { liveness } from "./Liveness.ts";
import { liveOutput } from "./LiveOutput.ts";
import { checkGpu, machineHealth, trialLaunch, warmAll } from "./Readiness.ts";
import { serveEndpoint } from "./serve.ts";
import { Shutdown } from "./Shutdown.ts";
import { Failed } from "./Failure.ts";
import { testInput } from "./TestInput.ts";

const PORT = Setting.optionalPort({
  name: "PORT",
  doc: "Where RunPod's load balancer sends requests; without a queue the worker listens there.",
  fallback: "none: jobs come from the queue",
});

const PORT_HEALTH = Setting.optionalPort({
  name: "PORT_HEALTH",
  doc: "Where RunPod's load balancer asks for `/ping`, if not at PORT.",
  fallback: "PORT",
});

const failing = (message: string) =>
  Effect.andThen(Effect.logError(message), Effect.fail(new Failed({ exitCode: 1 })));

/** One job, and its answer as a line on stdout. */
const runOnce = Effect.fn("start.once")(function* (job: Job) {
  const executor = yield* RemoteExecutor;
  const answer = yield* Effect.provideService(executor.execute(job.input), JobEvents, liveOutput);
  yield* Console.log(JSON.stringify(answer));
  if (answer.error !== null) return yield* new Failed({ exitCode: 1 });
});

/** The origin of the queue's URL; the rest of the URL may contain secrets. */
const originOf = (address: Option.Option<string>): string =>
  Option.match(address, {
    onNone: () => "nowhere",
    onSome: (url) => (URL.canParse(url) ? new URL(url).origin : "an invalid URL"),
  });

/** Takes jobs until shutdown is requested or the machine is found to be unfit; running jobs finish. */
export const work = Effect.gen(function* () {
  const worker = yield* Worker;
  const webhooks = yield* Webhooks;
  const shutdown = yield* Shutdown;
  const fitness = yield* Fitness;
  const concurrency = yield* CONCURRENCY.value;
  const endpoint = yield* ENDPOINT_ID.value;
  yield* Effect.logInfo(
    `worker-tetra ${manifest.version} started for endpoint ${endpoint}, ${concurrency} ${concurrency === 1 ? "job" : "jobs"} at a time`,
  );
  yield* liveness;
  yield* Effect.tapError(fitness.check, ({ message }) => Effect.logError(message));
  const health = yield* machineHealth;
  const ready = yield* Latch.make();
  const verdict = yield* Ref.make(Option.none<Unfit>());
  const launchFirst = trialLaunch.pipe(
    Effect.andThen(Effect.logInfo(`Ready: taking jobs from ${originOf(webhooks.take(1, false))}`)),
    Effect.andThen(ready.open),
  );
  const supervise = Effect.all([Effect.andThen(launchFirst, warmAll), checkGpu, health.watch], {
    concurrency: "unbounded",
    discard: true,
  }).pipe(
    Effect.tapErrorTag("Unfit", (unfit) =>
      Effect.andThen(Ref.set(verdict, Option.some(unfit)), Effect.logError(unfit.message)),
    ),
    // What jobs at work have to say is still brought home.
    Effect.onError(() => worker.drain),
  );
  const reason = yield* Ref.make("WORKER_REFRESH is set");
  yield* shutdown.requested.pipe(
    Effect.andThen(Ref.set(reason, "asked to shut down")),
    Effect.andThen(worker.drain),
    Effect.forkScoped,
  );
  const supervising = yield* Effect.forkScoped(supervise);
  const { done, failed, stopped } = yield* Effect.provideService(
    worker.run(functionHandler, {
      beforeTake: Effect.andThen(ready.await, health.beforeTake),
    }),
    JobEvents,
    both(liveOutput, health.events),
  );
  const unfit = yield* Ref.get(verdict);
  yield* Effect.logInfo(
    `Worker stopped (${Option.isSome(unfit) ? "this machine is unfit" : yield* Ref.get(reason)}): ${done} jobs done, ${failed} failed, ${stopped} stopped`,
  );
  if (Option.isSome(unfit)) return yield* unfit.value;
  // A defect in the code that supervises the worker must not look like a normal exit.
  const end = supervising.pollUnsafe();
  if (end !== undefined) yield* end;
}).pipe(Effect.scoped);

const LEVELS = { DEBUG: "Debug", INFO: "Info", WARN: "Warn", ERROR: "Error" } as const;

const FLAGS = {
  testInput: Flag.String("test_input").pipe(
    Flag.withDescription(
      'Run this one job, such as {"input": …}, and end: 0 when it succeeded, else 1',
    ),
    Flag.optional,
  ),
  serveApi: Flag.Boolean("rp_serve_api").pipe(
    Flag.withDescription("As the command serve, under the names that RunPod's own workers have"),
    Flag.withDefault(false),
  ),
  apiHost: Flag.String("rp_api_host").pipe(
    Flag.withDescription("As serve --host"),
    Flag.withDefault("127.0.0.1"),
  ),
  apiPort: Flag.Int("rp_api_port").pipe(Flag.withDescription("As serve --port"), Flag.optional),
  apiConcurrency: Flag.Int("rp_api_concurrency").pipe(
    Flag.withDescription("As serve --concurrency"),
    Flag.optional,
  ),
  logLevel: Flag.Literals("rp_log_level", ["DEBUG", "INFO", "WARN", "ERROR"]).pipe(
    Flag.withDescription("As --log-level, under the name that RunPod's own workers have for it"),
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
      });
    }
    const hasQueue = Option.isSome(webhooks.take(1, false));
    const ports = yield* Effect.map(Effect.all([PORT.value, PORT_HEALTH.value]), Array.getSomes);
    const job = yield* Effect.catchTag(
      testInput(flags.testInput, hasQueue || ports.length > 0),
      "TestInputUnusable",
      ({ message }) => failing(message),
    );
    if (Option.isSome(job)) return yield* runOnce(job.value);
    if (hasQueue) {
      return yield* Effect.catchTag(work, "Unfit", () => Effect.fail(new Failed({ exitCode: 1 })));
    }
    if (ports.length > 0) {
      // Loaded only here: a worker with a queue needs no server.
      const { balanced } = yield* Effect.promise(() => import("./LoadBalancing.ts"));
      return yield* Effect.catchTags(balanced([...new Set(ports)]), {
        Unfit: ({ message }) => failing(message),
        ListenFailed: ({ message }) => failing(message),
      });
    }
    return yield* failing(
      "There is no queue to take jobs from: RUNPOD_WEBHOOK_GET_JOB is not set. On RunPod it is. " +
        "For a test give a job by --test_input, RUNPOD_TEST_INPUT or the file test_input.json, use `worker-tetra run`, or serve an endpoint on this machine by `worker-tetra serve`.",
    );
  },
  (effect, { logLevel }) =>
    Option.match(logLevel, {
      onNone: () => effect,
      onSome: (level) => Effect.provideService(effect, References.MinimumLogLevel, LEVELS[level]),
    }),
);

/** `start`: the worker as RunPod runs it. */
export const start = Command.make("start", FLAGS, handler).pipe(
  Command.withDescription("Take jobs from RunPod's queue, run them and send the results back"),
  Command.withExamples([
    { command: "worker-tetra start", description: "As RunPod starts it" },
    {
      command: `worker-tetra start --test_input '{"input": {…}}'`,
      description: "One job, as RunPod's own workers are tried out",
    },
  ]),
);

/** What the program does when it is told nothing else. */
export const startByDefault = handler({
  testInput: Option.none(),
  serveApi: false,
  apiHost: "127.0.0.1",
  apiPort: Option.none(),
  apiConcurrency: Option.none(),
  logLevel: Option.none(),
});

/** All that the command needs. */
export const startLayer = Layer.mergeAll(
  Worker.layer,
  Webhooks.layer,
  Fitness.layer,
  RemoteExecutor.layer,
  PythonRunner.layer,
  Workspace.layer,
);
