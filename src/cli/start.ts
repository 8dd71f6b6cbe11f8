import { Console, Effect, Latch, Layer, Option, References, Runtime, Schema } from "effect";
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

/** Fails when the GPU can't be used, by a process of its own. */
const checkCuda = Effect.gen(function* () {
  const { python } = yield* (yield* Workspace).ready;
  yield* (yield* Fitness).checkCuda(python);
});

/** Whatever can be done before there is a job is done while the first poll is open. */
const prepare = Effect.gen(function* () {
  const { requiresGpu } = yield* Fitness;
  const runner = yield* PythonRunner;
  yield* Effect.all([runner.warm, requiresGpu ? checkCuda : Effect.void], {
    concurrency: "unbounded",
  });
});

/** What is not about the machine, the first job meets too, and answers with it. */
const tolerant = <R>(effect: Effect.Effect<unknown, Effect.Error<typeof prepare>, R>) =>
  Effect.catchIf(
    effect,
    (error) => error._tag !== "Unfit",
    (error) => Effect.logWarning(`Not ready yet: ${error.message}`),
  );

const work = Effect.gen(function* () {
  const worker = yield* Worker;
  const shutdown = yield* Shutdown;
  const fitness = yield* Fitness;
  yield* fitness.check;
  const poisoned = Latch.makeUnsafe();
  const events = { ...live, poisoned: () => poisoned.openUnsafe() };
  yield* Effect.forkScoped(Effect.andThen(shutdown.requested, worker.drain));
  /** A new process may be no better off than one whose GPU was lost to it. */
  const watch = poisoned.await.pipe(
    Effect.andThen(Effect.sync(() => poisoned.closeUnsafe())),
    Effect.andThen(tolerant(checkCuda)),
    Effect.forever,
  );
  const supervise = Effect.andThen(tolerant(prepare), watch).pipe(
    // What jobs at work have to say is still brought home.
    Effect.tapErrorTag("Unfit", () => worker.drain),
  );
  const supervising = yield* Effect.forkScoped(supervise);
  yield* Effect.provideService(worker.run(functionHandler), JobEvents, events);
  const end = supervising.pollUnsafe();
  if (end !== undefined) return yield* end;
}).pipe(
  Effect.scoped,
  Effect.catchTag("Unfit", ({ message }) => failing(message)),
);

const LEVELS = { DEBUG: "Debug", INFO: "Info", WARN: "Warn", ERROR: "Error" } as const;

const FLAGS = {
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
} as const;

interface Flags {
  readonly testInput: Option.Option<string>;
  readonly logLevel: Option.Option<keyof typeof LEVELS>;
}

const handler = Effect.fn("start")(
  function* (flags: Flags) {
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
export const startByDefault = handler({ testInput: Option.none(), logLevel: Option.none() });

/** All that the command needs. */
export const startLayer = Layer.mergeAll(
  Worker.layer,
  Webhooks.layer,
  Fitness.layer,
  RemoteExecutor.layer,
  PythonRunner.layer,
  Workspace.layer,
);
