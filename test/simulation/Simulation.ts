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
import { JobQueue } from "../../src/queue/JobQueue.ts";
import { QueueWorker } from "../../src/queue/QueueWorker.ts";
import { Delivery } from "../../src/queue/reports/Delivery.ts";
import { Heartbeat } from "../../src/queue/reports/Heartbeat.ts";
import { ResultStore } from "../../src/queue/reports/ResultStore.ts";
import { Webhooks } from "../../src/queue/runpod/Webhooks.ts";
import { RunnerUnavailable } from "../../src/runner/RunnerError.ts";
import { RunnerPool } from "../../src/runner/RunnerPool.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { fakeWorkspace } from "../support/fakes/FakeRunner.ts";
import { steppedClock } from "../support/fakes/SteppedClock.ts";
import { seededRandom, type SeededRandom } from "../support/values/Random.ts";
import { Journal } from "./Journal.ts";
import { ROOM_CHECK, simulatedRunPod } from "./SimulatedRunPod.ts";

const SECOND = 1000;
const HOUR = 3600 * SECOND;

/** The time between two heartbeats. */
const INTERVAL = 10 * SECOND;

/** Whatever goes wrong, a schedule is over after this. */
const LIMIT = 6 * HOUR;

/** All the room that Delivery has for results. */
const ALL_ROOM = new Uint8Array(256 * 1024 * 1024);

const KINDS = ["ok", "ok", "ok", "stream", "fail", "defect"] as const;
const MACHINE_KINDS = ["launch", "cuda", "poison"] as const;

interface Input {
  readonly id: string;
  readonly kind: (typeof KINDS)[number] | (typeof MACHINE_KINDS)[number] | "endless";
  readonly duration: number;
  /** How long the code takes to stop when it is interrupted. */
  readonly stopping: number;
}

/** What happens in one schedule, and when: all that follows from its seed. */
const planOf = (dice: SeededRandom) => {
  const grace = dice.hits(0.4) ? dice.between(0, 60) : undefined;
  const machineFails = dice.hits(0.3);
  const end = dice.hits(0.6) ? dice.between(0, 150) * SECOND : undefined;
  const jobs = Array.from({ length: Math.floor(dice.between(1, 14)) }, (_, number) => {
    const kind = dice.pick(machineFails ? [...KINDS, ...MACHINE_KINDS] : KINDS);
    const input: Input = {
      id: `job-${number}`,
      kind: grace !== undefined && end !== undefined && dice.hits(0.1) ? "endless" : kind,
      duration: dice.hits(0.2) ? 0 : dice.between(0, dice.hits(0.1) ? 300 : 20) * SECOND,
      stopping: dice.hits(0.5) ? 0 : dice.between(0, 8) * SECOND,
    };
    return { at: dice.between(0, 90) * SECOND, input };
  });
  const storm = dice.hits(0.2) ? 0 : dice.between(0, 0.5);
  return {
    jobs,
    grace,
    concurrency: Math.floor(dice.between(1, 5)),
    patience: Math.floor(dice.between(5, 120)),
    stops: jobs
      .filter(() => dice.hits(0.15))
      .map(({ at, input }) => ({ id: input.id, at: at + dice.between(0, 20) * SECOND })),
    clockSteps: Array.from({ length: Math.floor(dice.between(0, 4)) }, () => ({
      at: dice.between(0, 120) * SECOND,
      by: Math.floor(dice.between(-2, 2) * HOUR),
    })),
    /** When SIGTERM comes; else when all is done. */
    end,
    pythonStarts: !dice.hits(0.03),
    gpuIsWell: dice.hits(0.5),
    refreshes: dice.hits(0.05),
    progress: dice.pick(["off", "stages"]),
    faults: {
      take: storm * dice.next(),
      stop: storm * dice.next(),
      done: storm * dice.next(),
      stream: storm * dice.next(),
      ping: storm * dice.next(),
      duplicate: dice.hits(0.5) ? 0 : 0.3,
      refusal: dice.hits(0.7) ? 0 : 0.1,
    },
  };
};

type Plan = ReturnType<typeof planOf>;

/** Runs no code, but takes its time, and ends as the input says. */
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

/** The machine: whether Python starts and the GPU works. */
const fakeMachine = (
  { pythonStarts, gpuIsWell }: Plan,
  refused: () => void,
  takes: () => number,
  journal: Journal,
) => {
  const unfit = new Unfit({ check: "gpu", reason: "the GPU is gone" });
  const refuse = (reason: Unfit) => Effect.andThen(Effect.sync(refused), Effect.fail(reason));
  const checkCuda = Effect.gen(function* () {
    const before = takes();
    yield* Effect.sleep("2 seconds");
    if (takes() > before) journal.violation("jobs were asked for while the GPU was in doubt");
    if (!gpuIsWell) return yield* refuse(unfit);
  });
  const start = Effect.andThen(
    Effect.sleep("1 second"),
    pythonStarts
      ? Effect.void
      : Effect.fail(new RunnerUnavailable({ reason: "did not start", output: "" })),
  );
  return Layer.mergeAll(
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

/** What the log says about jobs, which is all that tells of results that were not delivered. */
const readLog = (journal: Journal) =>
  Logger.layer([
    Logger.make(({ message, fiber }) => {
      const text = (Array.isArray(message) ? message : [message]).map(String).join(" ");
      const [, lost] =
        /^The result of job (\S+) .*(?:is lost|is stored for the next start)/.exec(text) ?? [];
      if (lost !== undefined) journal.owed(lost);
      const [, twice] = /^Ignoring duplicate delivery of job (\S+):/.exec(text) ?? [];
      if (twice !== undefined) journal.ignored(twice);
      if (!text.startsWith("Job stopped by RunPod")) return;
      const { requestId } = fiber.getRef(References.CurrentLogAnnotations);
      journal.stopped(String(requestId));
    }),
  ]);

const environmentOf = ({ concurrency, patience, grace, refreshes, progress }: Plan) =>
  Environment.layerOf({
    RUNPOD_WEBHOOK_GET_JOB: "http://runpod.test/job-take/$RUNPOD_POD_ID",
    RUNPOD_WEBHOOK_POST_OUTPUT: "http://runpod.test/job-done/$RUNPOD_POD_ID/$ID",
    RUNPOD_WEBHOOK_POST_STREAM: "http://runpod.test/job-stream/$RUNPOD_POD_ID/$ID",
    RUNPOD_WEBHOOK_PING: "http://runpod.test/ping/$RUNPOD_POD_ID",
    RUNPOD_PING_INTERVAL: String(INTERVAL),
    RUNPOD_AI_API_KEY: "key",
    RUNPOD_POD_ID: "pod",
    WORKER_CONCURRENCY: String(concurrency),
    WORKER_RESULT_RETRY: String(patience),
    WORKER_PROGRESS: progress,
    ...(grace === undefined ? {} : { WORKER_SHUTDOWN_GRACE: String(grace) }),
    ...(refreshes ? { WORKER_REFRESH: "true" } : {}),
  });

/** All the room for results is there again, once nothing waits. */
const checkRoom = Effect.fnUntraced(function* (journal: Journal) {
  const { accept, idle } = yield* Delivery;
  const done = yield* Effect.timeoutOption(
    Effect.andThen(
      accept({ jobId: ROOM_CHECK, body: ALL_ROOM, isStream: false }, Effect.void, Effect.void),
      idle,
    ),
    "10 minutes",
  );
  if (done._tag === "None") journal.violation("room for results leaked");
});

/** What one schedule has shown. */
interface Outcome {
  readonly violations: ReadonlyArray<string>;
  /** How often what happened that schedules are there for. */
  readonly happened: Readonly<Record<string, number>>;
}

/** The real queue worker with its Delivery, Heartbeat and drain through one schedule. */
export const simulate = Effect.fnUntraced(function* (seed: number) {
  const dice = seededRandom(seed);
  const plan = planOf(dice);
  const wall = yield* Clock.Clock;
  // Time by the test's own clock, which no step changes.
  const now = () => wall.currentTimeMillisUnsafe();
  const journal = new Journal(now, INTERVAL);
  const runpod = simulatedRunPod(journal, dice, plan.faults);
  const clock = steppedClock();
  const shutdown = Shutdown.make();
  let isAsked = false;
  const askToEnd = () => {
    isAsked = true;
    shutdown.request();
  };
  let isRefused = false;
  let takesAtRefusal = 0;
  const refused = () => {
    isRefused = true;
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
    Layer.provideMerge(clock.layer),
  );
  const fiber = yield* Effect.exit(takeJobs).pipe(
    Effect.tap(() => Effect.sync(() => journal.checkPace(now()))),
    Effect.tap(() => checkRoom(journal)),
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
    ...(plan.end === undefined ? [] : [{ at: plan.end, act: askToEnd }]),
  ].toSorted((a, b) => a.at - b.at);
  for (;;) {
    const next = events.shift();
    yield* TestClock.adjust(next === undefined ? 5 * SECOND : Math.max(0, next.at - now()));
    next?.act();
    if (fiber.pollUnsafe() !== undefined) break;
    const isDone = runpod.waiting() === 0 && journal.openIds.length === 0;
    if (next === undefined && (isDone || now() > LIMIT / 2) && !isAsked) {
      if (!isDone && !isRefused) journal.violation(`jobs starve: ${runpod.waiting()} wait`);
      askToEnd();
    }
    if (now() > LIMIT) {
      journal.violation("the worker does not end");
      break;
    }
  }
  const exit = fiber.pollUnsafe();
  if (exit?._tag === "Failure") journal.violation(`the worker died: ${String(exit.cause)}`);
  if (isRefused && runpod.takes() > takesAtRefusal) journal.violation("an unfit worker takes jobs");
  if (runpod.inFlight() > 0) journal.violation("a request outlived the worker");
  journal.end();
  const outcome: Outcome = {
    violations: journal.violations,
    happened: {
      "a result that was delivered": journal.runs.filter((run) => run.acknowledged > 0).length,
      "a result that was lost": journal.runs.filter((run) => run.owed > 0).length,
      "a job that was stopped": journal.runs.filter((run) => run.isStopped).length,
      "a duplicate delivery": journal.duplicates,
      "an unfit machine": isRefused ? 1 : 0,
      "a step of the clock": plan.clockSteps.length,
      "an early end": plan.end === undefined ? 0 : 1,
    },
  };
  return outcome;
});
