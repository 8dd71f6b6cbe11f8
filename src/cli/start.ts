import { Console, Effect, Layer, Option, References, Runtime, Schema } from "effect";
import { Command, Flag } from "effect/cli";

import { PythonRunner } from "../execution/PythonRunner.ts";
import { RemoteExecutor } from "../execution/RemoteExecutor.ts";
import type { Job } from "../protocol/Job.ts";
import { JobEvents } from "../protocol/JobEvents.ts";
import { Fitness } from "../runpod/Fitness.ts";
import { functionHandler } from "../runpod/FunctionHandler.ts";
import { Webhooks } from "../runpod/Webhooks.ts";
import { Worker } from "../runpod/Worker.ts";
import { Workspace } from "../workspace/Workspace.ts";
import { Shutdown } from "./Shutdown.ts";
import { testInput } from "./TestInput.ts";

/** The worker could not start, or its one job failed; the reason was said already. */
class StartFailed extends Schema.TaggedError<StartFailed>()("StartFailed", {}) {
  override readonly [Runtime.errorExitCode] = 1;
  override readonly [Runtime.errorReported] = false;
}

/** Clients find a job's lines in the pod's log by what they are: exactly as printed. */
const live = {
  output: (lines: string) => {
    process.stdout.write(lines);
  },
};

const failing = (message: string) =>
  Effect.andThen(Effect.logError(message), Effect.fail(new StartFailed()));

/** One job, and its answer as a line on stdout. */
const runOnce = Effect.fn("start.once")(function* (job: Job) {
  const answer = yield* Effect.provideService(functionHandler(job), JobEvents, live);
  yield* Console.log(JSON.stringify(answer));
  if (answer.error !== null) return yield* new StartFailed();
});

/** Whatever can be done before there is a job is done while the first poll is open. */
const prepare = Effect.gen(function* () {
  const fitness = yield* Fitness;
  const runner = yield* PythonRunner;
  const { python } = yield* (yield* Workspace).ready;
  yield* Effect.all([runner.warm, fitness.checkCuda(python)], { concurrency: "unbounded" });
}).pipe(
  Effect.catchIf(
    (error) => error._tag !== "Unfit",
    // The first job meets the same trouble, and answers with it.
    (error) => Effect.logWarning(`Not ready yet: ${error.message}`),
  ),
);

const work = Effect.gen(function* () {
  const worker = yield* Worker;
  const shutdown = yield* Shutdown;
  yield* (yield* Fitness).check;
  yield* Effect.forkScoped(Effect.andThen(shutdown.requested, worker.drain));
  const working = Effect.provideService(worker.run(functionHandler), JobEvents, live);
  yield* Effect.raceFirst(working, Effect.andThen(prepare, Effect.never));
}).pipe(
  Effect.scoped,
  Effect.catchTag("Unfit", ({ message }) => failing(message)),
);

const LEVELS = { DEBUG: "Debug", INFO: "Info", WARN: "Warn", ERROR: "Error" } as const;

/** `start`: the worker as RunPod runs it. */
export const start = Command.make(
  "start",
  {
    testInput: Flag.String("test_input").pipe(
      Flag.withDescription(
        'Run this one job, such as {"input": …}, and end: 0 when it succeeded, else 1',
      ),
      Flag.optional,
    ),
    logLevel: Flag.Literals("rp_log_level", ["DEBUG", "INFO", "WARN", "ERROR"]).pipe(
      Flag.withDescription("As --log-level, under the name that RunPod's own workers have for it"),
      Flag.optional,
    ),
  },
  Effect.fn("start")(
    function* (flags) {
      const webhooks = yield* Webhooks;
      const hasQueue = Option.isSome(webhooks.take(1, false));
      const job = yield* Effect.catchTag(
        testInput(flags.testInput, hasQueue),
        "TestInputUnusable",
        ({ message }) => failing(message),
      );
      if (Option.isSome(job)) return yield* runOnce(job.value);
      if (hasQueue) return yield* work;
      return yield* failing(
        "There is no queue to take jobs from: RUNPOD_WEBHOOK_GET_JOB is not set. On RunPod it is. " +
          "For a test give a job by --test_input, RUNPOD_TEST_INPUT or the file test_input.json, or use `worker-tetra run`.",
      );
    },
    (effect, { logLevel }) =>
      Option.match(logLevel, {
        onNone: () => effect,
        onSome: (level) => Effect.provideService(effect, References.MinimumLogLevel, LEVELS[level]),
      }),
  ),
).pipe(
  Command.withDescription("Take jobs from RunPod's queue, run them and send the results back"),
  Command.withExamples([
    { command: "worker-tetra start", description: "As RunPod starts it" },
    {
      command: `worker-tetra start --test_input '{"input": {…}}'`,
      description: "One job, as RunPod's own workers are tried out",
    },
  ]),
);

/** All that the command needs. */
export const startLayer = Layer.mergeAll(
  Worker.layer,
  Webhooks.layer,
  Fitness.layer,
  RemoteExecutor.layer,
  PythonRunner.layer,
  Workspace.layer,
);
