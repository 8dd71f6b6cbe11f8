import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { ByteSize, Duration, Effect, Fiber } from "effect";

import { eventually } from "../support/effects/Waiting.ts";
import {
  hasMooseFs,
  skippedWithoutMooseFs,
  mooseFs,
  type Host,
} from "../support/moosefs/MooseFs.ts";
import { volumeWorker } from "../support/moosefs/VolumeWorker.ts";
import { runProcess, startProcess, stdoutOf } from "../support/processes/ChildProcess.ts";
import { pythonLock } from "../support/processes/PythonLock.ts";
import { functionInput } from "../support/values/JobInputs.ts";

/** Names of venvs begin with the version of Python. */
const isVenv = (name: string) => /^3\..*[^k]$/.test(name) && !name.endsWith(".json");

const lockOn = (host: Host) => pythonLock(`${host.path}/lock`);

const write = (path: string, size: ByteSize.ByteSize) =>
  runProcess("dd", ["if=/dev/zero", `of=${path}`, `bs=${size}`, "count=1", "status=none"]);

describe.skipIf(!hasMooseFs)(`MooseFS with two hosts${skippedWithoutMooseFs}`, () => {
  it.live("excludes locks of the other host, which outlive a killed host", () =>
    Effect.gen(function* () {
      const { a, b } = yield* mooseFs();
      assert.strictEqual((yield* lockOn(a)).state, "held");
      assert.strictEqual((yield* lockOn(b)).state, "busy");
      yield* a.kill;
      assert.strictEqual((yield* lockOn(b)).state, "busy");
      const { stderr } = yield* runProcess("ls", [a.path]);
      assert.include(stderr, "Transport endpoint is not connected");
      yield* a.start;
      assert.strictEqual((yield* lockOn(a)).state, "busy");
    }).pipe(Effect.scoped),
  );

  it.live("limits a folder until the quota is removed", () =>
    Effect.gen(function* () {
      const { a, setQuota, removeQuota } = yield* mooseFs();
      yield* setQuota(a.path, ByteSize.mebibytes(1));
      const write2 = write(`${a.path}/file`, ByteSize.mebibytes(2));
      assert.include((yield* write2).stderr, "Disk quota exceeded");
      yield* removeQuota(a.path);
      assert.strictEqual((yield* write2).code, 0);
    }).pipe(Effect.scoped),
  );

  it.live("hangs while the master is suspended, and recovers", () =>
    Effect.gen(function* () {
      const { a, b, master } = yield* mooseFs();
      yield* stdoutOf("sh", ["-c", `echo text > ${a.path}/file`]);
      yield* master.suspend;
      const read = yield* Effect.forkScoped(stdoutOf("cat", [`${b.path}/file`]));
      yield* Effect.flip(Effect.timeout(Fiber.join(read), "1 second"));
      yield* master.resume;
      assert.strictEqual(yield* Fiber.join(read), "text\n");
      yield* Effect.andThen(master.kill, master.start);
      assert.strictEqual(yield* stdoutOf("cat", [`${b.path}/file`]), "text\n");
    }).pipe(Effect.scoped),
  );

  it.live("ends while processes wait for it", () =>
    Effect.gen(function* () {
      const { a, master } = yield* mooseFs();
      yield* master.suspend;
      const { pid } = yield* startProcess("ls", [a.path]);
      yield* eventually(() => readFileSync(`/proc/${pid}/wchan`, "utf8") === "request_wait_answer");
    }).pipe(Effect.scoped, Effect.timeout("30 seconds")),
  );

  it.live("serves a worker on each host, which share a virtual environment", () =>
    Effect.gen(function* () {
      const { a, b } = yield* mooseFs();
      const job = functionInput("import os, sys\ndef f(): return [os.getcwd(), sys.prefix]");
      const first = yield* volumeWorker(a.path);
      const folder = join("runtimes", "tests");
      assert.deepInclude((yield* first.answer(job))["output"], { success: true });
      const second = yield* volumeWorker(b.path);
      const { output } = yield* second.answer(job);
      assert.deepInclude(output, { success: true });
      assert.include(JSON.stringify(output), join(b.path, folder));
      assert.lengthOf(readdirSync(join(a.path, folder, ".venvs")).filter(isVenv), 1);
    }).pipe(Effect.scoped),
  );

  it.live(
    "serves 16 workers that start at once on an empty volume, which build one environment",
    () =>
      Effect.gen(function* () {
        const { a, b } = yield* mooseFs();
        const hosts = Array.from({ length: 16 }, (_, number) => (number % 2 === 0 ? a : b));
        const job = functionInput("import os\ndef f(): return os.getcwd()");
        const workers = yield* Effect.forEach(
          hosts,
          ({ path }) =>
            volumeWorker(path, { WORKSPACE_INIT_TIMEOUT: "300", RUNPOD_PING_INTERVAL: "10000" }),
          { concurrency: "unbounded" },
        );
        const answers = yield* Effect.forEach(workers, ({ answer }) => answer(job), {
          concurrency: "unbounded",
        });
        const folder = join("runtimes", "tests");
        for (const [index, { path }] of hosts.entries()) {
          assert.include(JSON.stringify(answers[index]), join(path, folder));
        }
        assert.lengthOf(readdirSync(join(a.path, folder, ".venvs")).filter(isVenv), 1);
        const warnings = workers.flatMap(({ logs }) =>
          logs().filter(({ level }) => level !== "INFO"),
        );
        assert.deepStrictEqual(warnings, []);
      }).pipe(Effect.scoped),
  );

  it.live("is slow on one host, and counts operations", () =>
    Effect.gen(function* () {
      const { a } = yield* mooseFs();
      yield* a.slowDown({ roundTrip: Duration.millis(200), first: Duration.millis(1200) });
      const [elapsed, counted] = yield* Effect.timed(a.counted(stdoutOf("mkdir", [`${a.path}/d`])));
      assert.isAbove(Duration.toMillis(elapsed), 1200);
      assert.isAtLeast(counted.operations.fuse, 2);
      assert.isAtLeast(counted.operations.roundTrips, 1);
      yield* a.remount;
      const [fast] = yield* Effect.timed(stdoutOf("stat", [`${a.path}/d`]));
      assert.isBelow(Duration.toMillis(fast), 200);
    }).pipe(Effect.scoped),
  );
});
