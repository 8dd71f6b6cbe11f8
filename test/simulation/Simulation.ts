import { Clock, Effect, FileSystem, Layer, Logger, Path, Random, References } from "effect";
import { TestClock } from "effect/testing";

import { takeJobs } from "../../src/cli/modes/QueueMode.ts";
import { Shutdown } from "../../src/cli/process/Shutdown.ts";
import { EncodedResponse } from "../../src/domain/EncodedResponse.ts";
import * as FunctionResponse from "../../src/domain/FunctionResponse.ts";
import { JobListener } from "../../src/domain/JobEvents.ts";
import { RemoteExecutor } from "../../src/functions/RemoteExecutor.ts";
import { Fitness } from "../../src/health/Fitness.ts";
import { Unfit } from "../../src/health/Unfit.ts";
import { BackgroundWork } from "../../src/platform/BackgroundWork.ts";
import { JobQueue } from "../../src/queue/JobQueue.ts";
import { QueueWorker } from "../../src/queue/QueueWorker.ts";
import { Delivery } from "../../src/queue/reports/Delivery.ts";
import { Heartbeat } from "../../src/queue/reports/Heartbeat.ts";
import { ResultStore } from "../../src/queue/reports/ResultStore.ts";
import { Webhooks } from "../../src/queue/runpod/Webhooks.ts";
import { RunnerUnavailable } from "../../src/runner/RunnerError.ts";
import { RunnerPool } from "../../src/runner/RunnerPool.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { ReadAhead } from "../../src/workspace/profile/ReadAhead.ts";
import { fakeWorkspace } from "../support/fakes/FakeRunner.ts";
import { steppedClock } from "../support/fakes/SteppedClock.ts";
import { seededRandom, type SeededRandom } from "../support/values/Random.ts";
import { Journal } from "./Journal.ts";
import { CAPACITY_CHECK, simulatedRunPod } from "./SimulatedRunPod.ts";

const SECOND = 1000;
const HOUR = 3600 * SECOND;

/** The time between two heartbeats. */
const INTERVAL = 10 * SECOND;

/** The maximum duration of a schedule, whatever fails. */
const MAX_DURATION = 6 * HOUR;

/** A body as large as the memory limit of Delivery. */
const FULL_CAPACITY = new Uint8Array(256 * 1024 * 1024);

const KINDS = ["ok", "ok", "ok", "stream", "fail", "defect"] as const;
const MACHINE_KINDS = ["launch", "cuda", "poison"] as const;

interface Input {
  readonly id: string;
  readonly kind: (typeof KINDS)[number] | (typeof MACHINE_KINDS)[number] | "endless";
  readonly duration: number;
  /** How long the code takes to stop when it is interrupted. */
  readonly stopping: number;
}

/** The events of one schedule and their times, all derived from its seed. */
const planOf = (random: SeededRandom) => {
  const grace = random.hits(0.4) ? random.between(0, 60) : undefined;
  const machineFails = random.hits(0.3);
  const end = random.hits(0.6) ? random.between(0, 150) * SECOND : undefined;
  const jobs = Array.from({ length: Math.floor(random.between(1, 14)) }, (_, number) => {
    const kind = random.pick(machineFails ? [...KINDS, ...MACHINE_KINDS] : KINDS);
    const input: Input = {
      id: `job-${number}`,
      kind: grace !== undefined && end !== undefined && random.hits(0.1) ? "endless" : kind,
      duration: random.hits(0.2) ? 0 : random.between(0, random.hits(0.1) ? 300 : 20) * SECOND,
      stopping: random.hits(0.5) ? 0 : random.between(0, 8) * SECOND,
    };
    return { at: random.between(0, 90) * SECOND, input };
  });
  const faultRate = random.hits(0.2) ? 0 : random.between(0, 0.5);
  return {
    jobs,
    grace,
    concurrency: Math.floor(random.between(1, 5)),
    retrySeconds: Math.floor(random.between(5, 120)),
    stops: jobs
      .filter(() => random.hits(0.15))
      .map(({ at, input }) => ({ id: input.id, at: at + random.between(0, 20) * SECOND })),
    clockSteps: Array.from({ length: Math.floor(random.between(0, 4)) }, () => ({
      at: random.between(0, 120) * SECOND,
      by: Math.floor(random.between(-2, 2) * HOUR),
    })),
    /** The time of SIGTERM; if undefined, after all jobs have finished. */
    end,
    pythonStarts: !random.hits(0.03),
    gpuWorks: random.hits(0.5),
    refreshes: random.hits(0.05),
    progress: random.pick(["off", "stages"]),
    faults: {
      take: faultRate * random.next(),
      stop: faultRate * random.next(),
      done: faultRate * random.next(),
      stream: faultRate * random.next(),
      ping: faultRate * random.next(),
      duplicate: random.hits(0.5) ? 0 : 0.3,
      refusal: random.hits(0.7) ? 0 : 0.1,
    },
  };
};

type Plan = ReturnType<typeof planOf>;

/** Simulates running code: takes the time and has the outcome of the input. */
const fakeExecutor = (journal: Journal, { concurrency }: Plan) => {
  const outcome = Effect.fnUntraced(function* (input: Input, number: number) {
    const events = yield* JobListener;
    events.notify({ _tag: "StageStarted", stage: "running" });
    if (input.kind === "stream") {
      for (let value = 0; value < 3; value += 1) {
        events.notify({
          _tag: "ValueYielded",
          value: EncodedResponse.of(FunctionResponse.success({ json_result: value })),
        });
        yield* Effect.sleep(input.duration / 3);
      }
    } else {
      yield* input.kind === "endless" ? Effect.never : Effect.sleep(input.duration);
    }
    switch (input.kind) {
      case "defect":
        return yield* Effect.die(new Error("the handler has a defect"));
      case "launch":
        events.notify({ _tag: "Ended", end: "launch", reason: "spawn EAGAIN" });
        return FunctionResponse.failure("The Python process did not start: spawn EAGAIN");
      case "poison":
      case "cuda":
        if (input.kind === "poison") events.notify({ _tag: "GpuLost" });
        events.notify({ _tag: "Ended", end: "cuda", reason: "CUDA error" });
        return FunctionResponse.failure("RuntimeError: CUDA error");
      case "fail":
        events.notify({ _tag: "Ended", end: "ran", reason: "ValueError" });
        return FunctionResponse.failure("ValueError: no");
      default:
        events.notify({ _tag: "Ended", end: "ran", reason: "" });
        return FunctionResponse.success({ json_result: number });
    }
  });
  const execute = (given: unknown) =>
    Effect.suspend(() => {
      const input = given as Input;
      const run = journal.start(input.id, concurrency);
      return outcome(input, run.number).pipe(
        Effect.onInterrupt(() => Effect.sleep(input.stopping)),
        Effect.ensuring(Effect.sync(() => (run.isRunning = false))),
      );
    });
  return Layer.succeed(
    RemoteExecutor,
    RemoteExecutor.of({
      execute,
      executeEncoded: (given) =>
        Effect.map(execute(given), (response) => EncodedResponse.of(response)),
    }),
  );
};

/** A machine whose Python starts, and whose GPU works, according to the plan. */
const fakeMachine = (
  { pythonStarts, gpuWorks }: Plan,
  refused: () => void,
  takes: () => number,
  journal: Journal,
) => {
  const unfit = new Unfit({ check: "gpu", reason: "the GPU is gone" });
  const refuse = (reason: Unfit) => Effect.andThen(Effect.sync(refused), Effect.fail(reason));
  const checkCuda = Effect.gen(function* () {
    const before = takes();
    yield* Effect.sleep("2 seconds");
    if (takes() > before) journal.violation("jobs were taken during the check of the GPU");
    if (!gpuWorks) return yield* refuse(unfit);
  });
  const start = Effect.andThen(
    Effect.sleep("1 second"),
    pythonStarts
      ? Effect.void
      : Effect.fail(new RunnerUnavailable({ reason: "did not start", output: "" })),
  );
  return Layer.mergeAll(
    Layer.succeed(ReadAhead, ReadAhead.of({ read: Effect.void, record: () => Effect.void })),
    fakeWorkspace().layer,
    Layer.succeed(
      Fitness,
      Fitness.of({
        check: Effect.void,
        requiresGpu: false,
        checkCuda: () => checkCuda,
        refuse,
      }),
    ),
    Layer.succeed(
      RunnerPool,
      RunnerPool.of({
        call: () => Effect.die("nothing is called"),
        warm: start,
        warmOne: start,
      }),
    ),
  );
};

/** Reads the outcomes of jobs from the log, the only place that reports undelivered results. */
const readLog = (journal: Journal) =>
  Logger.layer([
    Logger.make(({ message, fiber }) => {
      const text = (Array.isArray(message) ? message : [message]).map(String).join(" ");
      const [, lost] =
        /^The result of job (\S+) .*(?:is lost|is stored for the next start)/.exec(text) ?? [];
      if (lost !== undefined) journal.undelivered(lost);
      const [, duplicate] = /^Ignoring duplicate delivery of job (\S+):/.exec(text) ?? [];
      if (duplicate !== undefined) journal.ignored(duplicate);
      if (!text.startsWith("Job stopped by RunPod")) return;
      const { requestId } = fiber.getRef(References.CurrentLogAnnotations);
      journal.stopped(String(requestId));
    }),
  ]);

const environmentOf = ({ concurrency, retrySeconds, grace, refreshes, progress }: Plan) =>
  Environment.layerOf({
    RUNPOD_WEBHOOK_GET_JOB: "http://runpod.test/job-take/$RUNPOD_POD_ID",
    RUNPOD_WEBHOOK_POST_OUTPUT: "http://runpod.test/job-done/$RUNPOD_POD_ID/$ID",
    RUNPOD_WEBHOOK_POST_STREAM: "http://runpod.test/job-stream/$RUNPOD_POD_ID/$ID",
    RUNPOD_WEBHOOK_PING: "http://runpod.test/ping/$RUNPOD_POD_ID",
    RUNPOD_PING_INTERVAL: String(INTERVAL),
    RUNPOD_AI_API_KEY: "key",
    RUNPOD_POD_ID: "pod",
    WORKER_CONCURRENCY: String(concurrency),
    WORKER_RESULT_RETRY: String(retrySeconds),
    WORKER_PROGRESS: progress,
    ...(grace === undefined ? {} : { WORKER_SHUTDOWN_GRACE: String(grace) }),
    ...(refreshes ? { WORKER_REFRESH: "true" } : {}),
  });

/** Checks that the whole memory for results is released at the end. */
const checkCapacity = Effect.fnUntraced(function* (journal: Journal) {
  const { accept, idle } = yield* Delivery;
  const done = yield* Effect.timeoutOption(
    Effect.andThen(
      accept(
        { jobId: CAPACITY_CHECK, body: FULL_CAPACITY, isStream: false },
        Effect.void,
        Effect.void,
      ),
      idle,
    ),
    "10 minutes",
  );
  if (done._tag === "None") journal.violation("memory for results leaked");
});

/** The outcome of one schedule. */
interface Outcome {
  readonly violations: ReadonlyArray<string>;
  /** How often each kind of event happened. */
  readonly happened: Readonly<Record<string, number>>;
}

/** Runs the real queue worker, with its delivery, heartbeat and drain, through one schedule. */
export const simulate = Effect.fnUntraced(function* (seed: number) {
  const random = seededRandom(seed);
  const plan = planOf(random);
  const wall = yield* Clock.Clock;
  // The time of the test's clock, which clock steps do not change.
  const now = () => wall.currentTimeMillisUnsafe();
  const journal = new Journal(now, INTERVAL);
  const runpod = simulatedRunPod(journal, random, plan.faults);
  const clock = steppedClock();
  const shutdown = Shutdown.make();
  let isStopping = false;
  const requestShutdown = () => {
    isStopping = true;
    shutdown.request();
  };
  let isUnfit = false;
  let takesAtRefusal = 0;
  const refused = () => {
    isUnfit = true;
    takesAtRefusal = runpod.takes();
  };
  const machine = fakeMachine(plan, refused, runpod.takes, journal);
  const services = QueueWorker.layerNoDeps.pipe(
    Layer.provideMerge(Delivery.layerNoDeps),
    Layer.provide(Heartbeat.layerNoDeps),
    Layer.provide([JobQueue.layerNoDeps, ResultStore.layer]),
    Layer.provideMerge(Webhooks.layer),
    Layer.provide([runpod.layer, FileSystem.layerNoop({}), Path.layer]),
    Layer.provideMerge(environmentOf(plan)),
    Layer.merge(Layer.mergeAll(machine, fakeExecutor(journal, plan), readLog(journal))),
    Layer.merge(Layer.succeed(Shutdown, shutdown)),
    Layer.merge(BackgroundWork.layer),
    Layer.provideMerge(clock.layer),
  );
  const fiber = yield* Effect.exit(takeJobs).pipe(
    Effect.tap(() => Effect.sync(() => journal.checkInterval(now()))),
    Effect.tap(() => checkCapacity(journal)),
    Effect.provide(services),
    Random.withSeed(seed),
    Effect.forkChild,
  );
  const events = [
    ...plan.jobs.map(({ at, input }) => ({
      at,
      act: () => runpod.submit({ id: input.id, input }),
    })),
    ...plan.stops.map(({ at, id }) => ({ at, act: () => runpod.stop(id) })),
    ...plan.clockSteps.map(({ at, by }) => ({ at, act: () => clock.step(by) })),
    ...(plan.end === undefined ? [] : [{ at: plan.end, act: requestShutdown }]),
  ].toSorted((a, b) => a.at - b.at);
  for (;;) {
    const next = events.shift();
    yield* TestClock.adjust(next === undefined ? 5 * SECOND : Math.max(0, next.at - now()));
    next?.act();
    if (fiber.pollUnsafe() !== undefined) break;
    const isDone = runpod.waiting() === 0 && journal.openIds.length === 0;
    if (next === undefined && (isDone || now() > MAX_DURATION / 2) && !isStopping) {
      if (!isDone && !isUnfit)
        journal.violation(`jobs are not taken: ${runpod.waiting()} are queued`);
      requestShutdown();
    }
    if (now() > MAX_DURATION) {
      journal.violation("the worker does not end");
      break;
    }
  }
  const exit = fiber.pollUnsafe();
  if (exit?._tag === "Failure") journal.violation(`the worker died: ${String(exit.cause)}`);
  if (isUnfit && runpod.takes() > takesAtRefusal) journal.violation("an unfit worker takes jobs");
  if (runpod.inFlight() > 0)
    journal.violation("a request is still open after the end of the worker");
  journal.end();
  const outcome: Outcome = {
    violations: journal.violations,
    happened: {
      "a result that was delivered": journal.runs.filter((run) => run.acknowledged > 0).length,
      "a result that was lost": journal.runs.filter((run) => run.undelivered > 0).length,
      "a job that was stopped": journal.runs.filter((run) => run.isStopped).length,
      "a duplicate delivery": journal.duplicates,
      "an unfit machine": isUnfit ? 1 : 0,
      "a step of the clock": plan.clockSteps.length,
      "an early end": plan.end === undefined ? 0 : 1,
    },
  };
  return outcome;
});
