import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Context, Duration, Effect, Fiber, Layer, Option } from "effect";

import { FileLock } from "../../src/platform/locks/FileLock.ts";
import { Environment } from "../../src/settings/Environment.ts";
import {
  hasMooseFs,
  type MooseFs,
  mooseFs,
  skippedWithoutMooseFs,
} from "../support/moosefs/MooseFs.ts";
import { volumeWorker } from "../support/moosefs/VolumeWorker.ts";
import { workerProcess } from "../support/processes/WorkerProcess.ts";
import { functionInput } from "../support/values/JobInputs.ts";

const JOB = functionInput("import os\ndef f(): return os.getcwd()");

type Worker = Effect.Success<ReturnType<typeof volumeWorker>>;

const within = (limit: Duration.Input, { stderr }: { readonly stderr: () => string }) =>
  Effect.timeoutOrElse({
    duration: limit,
    orElse: () => Effect.die(new Error(`not within the limit; the log is:\n${stderr()}`)),
  });

/** Runs a job, and asserts whether its folder is on the volume. */
const answerIn = Effect.fnUntraced(function* (worker: Worker, place: "volume" | "own disk") {
  const { output } = yield* worker.answer(JOB);
  const { RUNPOD_VOLUME_PATH: volume, WORKER_WORKSPACE_PATH: own } = worker.container;
  assert.deepInclude(output, { success: true }, worker.stderr());
  assert.include(JSON.stringify(output), place === "volume" ? volume : own);
});

const terminate = (worker: Worker) => Effect.andThen(worker.signal("SIGTERM"), worker.ended);

/** How the volume fails, and what the worker says about it. */
const OUTAGES: ReadonlyArray<readonly [string, RegExp, (mfs: MooseFs) => Effect.Effect<void>]> = [
  ["the master hangs", /does not respond/, ({ master }) => master.suspend],
  ["the mount is dead", /not connected \(ENOTCONN\)/, ({ a }) => a.kill],
];

describe.skipIf(!hasMooseFs)(`an outage of the network volume${skippedWithoutMooseFs}`, () => {
  it.live.each(OUTAGES)("%s at the start: jobs run on the own disk", ([, message, fail]) =>
    Effect.gen(function* () {
      const mfs = yield* mooseFs();
      yield* fail(mfs);
      const worker = yield* volumeWorker(mfs.a.path);
      const answer = yield* Effect.forkScoped(answerIn(worker, "own disk"));
      yield* worker.wrote(message).pipe(within("30 seconds", worker));
      yield* Fiber.join(answer).pipe(within("60 seconds", worker));
      yield* terminate(worker).pipe(within("10 seconds", worker));
    }).pipe(Effect.scoped),
  );

  it.live("the master hangs at the start: SIGTERM ends the worker before it has given up", () =>
    Effect.gen(function* () {
      const { a, master } = yield* mooseFs();
      yield* master.suspend;
      const worker = yield* volumeWorker(a.path);
      yield* worker.wrote(/does not respond/).pipe(within("30 seconds", worker));
      yield* terminate(worker).pipe(within("10 seconds", worker));
    }).pipe(Effect.scoped),
  );

  it.live.each(OUTAGES)("%s: doctor reports the volume as not usable", ([, message, fail]) =>
    Effect.gen(function* () {
      const mfs = yield* mooseFs();
      yield* fail(mfs);
      const doctor = yield* workerProcess({ RUNPOD_VOLUME_PATH: mfs.a.path }, ["doctor"]);
      yield* doctor.ended.pipe(within("40 seconds", doctor));
      assert.match(doctor.stdout(), new RegExp(`Volume.*can't be used.*${message.source}`, "s"));
    }).pipe(Effect.scoped),
  );

  it.live.each(OUTAGES)("%s under an idle worker: no job is lost", ([, message, fail]) =>
    Effect.gen(function* () {
      const mfs = yield* mooseFs();
      const worker = yield* volumeWorker(mfs.a.path);
      yield* answerIn(worker, "volume");
      yield* fail(mfs);
      const { output } = yield* worker.answer(JOB).pipe(within("60 seconds", worker));
      assert.deepInclude(output, { success: true }, worker.stderr());
      yield* worker.wrote(message).pipe(within("30 seconds", worker));
      // A job that comes within a second after the last check still runs in the folder on the volume.
      const { WORKER_WORKSPACE_PATH: own } = worker.container;
      yield* worker
        .answer(JOB)
        .pipe(
          Effect.repeat({ until: (answer) => JSON.stringify(answer.output).includes(own) }),
          within("60 seconds", worker),
        );
      yield* terminate(worker).pipe(within("20 seconds", worker));
      assert.notInclude(worker.stderr(), "Internal error");
    }).pipe(Effect.scoped),
  );

  it.live("the master hangs under a job: the delay is logged, and SIGTERM ends the worker", () =>
    Effect.gen(function* () {
      const { a, master } = yield* mooseFs();
      const worker = yield* volumeWorker(a.path, { WORKER_SHUTDOWN_GRACE: "5" });
      yield* answerIn(worker, "volume");
      const reading = functionInput(
        "import os\ndef f(): print('began', flush=True); [os.listdir('.') for _ in iter(int, 1)]",
      );
      yield* Effect.forkScoped(worker.answer(reading));
      yield* worker.wrote("began");
      yield* master.suspend;
      yield* worker.wrote(/does not respond/).pipe(within("40 seconds", worker));
      yield* terminate(worker).pipe(within("40 seconds", worker));
    }).pipe(Effect.scoped),
  );

  it.live("the master returns: a running worker continues, and the next one uses the volume", () =>
    Effect.gen(function* () {
      const { a, master } = yield* mooseFs();
      const worker = yield* volumeWorker(a.path);
      yield* answerIn(worker, "volume");
      yield* master.suspend;
      // Packages are looked up on the volume.
      const answer = yield* Effect.forkScoped(answerIn(worker, "volume"));
      yield* worker.wrote(/does not respond/).pipe(within("30 seconds", worker));
      yield* master.resume;
      yield* Fiber.join(answer).pipe(within("30 seconds", worker));
      yield* worker.wrote("responds again");
      yield* answerIn(yield* volumeWorker(a.path), "volume");
    }).pipe(Effect.scoped),
  );

  it.live("a slow volume is not an outage", () =>
    Effect.gen(function* () {
      const { a } = yield* mooseFs();
      const first = yield* volumeWorker(a.path);
      yield* answerIn(first, "volume");
      yield* terminate(first);
      yield* a.slowDown({ roundTrip: Duration.millis(200), first: Duration.millis(1200) });
      const worker = yield* volumeWorker(a.path);
      yield* answerIn(worker, "volume").pipe(within("90 seconds", worker));
      // A single slow operation may be logged, but the volume is not given up.
      assert.notMatch(worker.stderr(), /can't be used|ETIMEDOUT/);
    }).pipe(Effect.scoped),
  );
});

describe.skipIf(!hasMooseFs)(`locks of two hosts${skippedWithoutMooseFs}`, () => {
  /** Locks files of one host. */
  const locksOn = Effect.fnUntraced(function* (volume: string) {
    const environment = Environment.layerOf({ ...process.env, RUNPOD_VOLUME_PATH: volume });
    const services = yield* Layer.build(Layer.provide(FileLock.layer, environment));
    const { tryLock } = Context.get(services, FileLock);
    return (name: string) => tryLock(join(volume, name), "shared");
  });

  it.live("are acquired although both create the file at the same time", () =>
    Effect.gen(function* () {
      const { a, b } = yield* mooseFs();
      const hosts = [yield* locksOn(a.path), yield* locksOn(b.path)];
      const names = Array.from({ length: 200 }, (_, index) => `lock-${index}`);
      for (const name of names) {
        const held = yield* Effect.all(
          hosts.map((lock) => lock(name)),
          { concurrency: "unbounded" },
        );
        assert.isTrue(held.every(Option.isSome));
      }
    }).pipe(Effect.scoped),
  );
});
