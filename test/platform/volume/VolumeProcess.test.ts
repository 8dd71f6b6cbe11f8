import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Duration, Effect, Fiber, Layer, Result, Schema } from "effect";

import { VolumeProcess } from "../../../src/platform/volume/VolumeProcess.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { eventually, poll } from "../../support/effects/Waiting.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { descendantsOf } from "../../support/processes/WorkerProcess.ts";

const Stat = Schema.Struct({ type: Schema.String });

/** Longer than the machine is ever busy for. */
const SOON = { deadline: Duration.millis(500) };

const commandOf = (pid: number) =>
  Result.getOrElse(
    Result.try(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")),
    () => "",
  );

const setUp = Effect.gen(function* () {
  const volume = join(yield* temporaryFolder, "volume");
  mkdirSync(volume);
  const logs = keptLogs();
  const environment = Environment.layerOf({ ...process.env, RUNPOD_VOLUME_PATH: volume });
  const services = yield* Layer.build(VolumeProcess.layer.pipe(Layer.provide(environment)));
  const { request, contains } = yield* Effect.provideContext(VolumeProcess, services);
  return {
    volume,
    notices: logs.notices,
    contains,
    request,
    stat: (options = {}) =>
      Effect.provide(request("files.stat", { path: volume }, Stat, options), logs.layer),
    /** The running processes for this volume. */
    processes: () => descendantsOf(process.pid).filter((pid) => commandOf(pid).includes(volume)),
  };
});

describe("the volume's process", () => {
  it.live("is started by the first request, and answers all of them", () =>
    Effect.gen(function* () {
      const { volume, contains, stat, processes } = yield* setUp;
      assert.isTrue(contains(volume));
      assert.isTrue(contains(join(volume, "a", "..", "b")));
      assert.isFalse(contains(`${volume}2`));
      assert.isEmpty(processes());
      assert.deepStrictEqual(yield* stat(), { type: "Directory" });
      yield* Effect.all([stat(), stat(), stat()], { concurrency: "unbounded" });
      assert.lengthOf(processes(), 1);
    }).pipe(Effect.scoped),
  );

  it.live("ends with its scope", () =>
    Effect.gen(function* () {
      const { stat, processes } = yield* Effect.scoped(Effect.tap(setUp, ({ stat }) => stat()));
      yield* eventually(() => processes().length === 0);
      assert.strictEqual((yield* Effect.flip(stat())).code, "EPIPE");
    }).pipe(Effect.scoped),
  );

  it.live("reports errors of the system by their names", () =>
    Effect.gen(function* () {
      const { volume, stat } = yield* setUp;
      rmSync(volume, { recursive: true });
      const fault = yield* Effect.flip(stat());
      assert.deepInclude(fault, { code: "ENOENT", path: volume });
    }).pipe(Effect.scoped),
  );

  it.live("is given up when it hangs; requests fail at once until the volume responds again", () =>
    Effect.gen(function* () {
      const { stat, processes, notices } = yield* setUp;
      yield* stat();
      const [hanging = 0] = processes();
      process.kill(hanging, "SIGSTOP");
      const fault = yield* Effect.flip(stat(SOON));
      assert.strictEqual(fault.code, "ETIMEDOUT");
      assert.include(fault.message, "does not respond");
      assert.strictEqual((yield* Effect.flip(stat())).code, "ETIMEDOUT");
      yield* poll(Effect.isSuccess(stat()), (isUsable) => isUsable);
      assert.isTrue(notices().some((line) => line.includes("responds again")));
      yield* eventually(() => !processes().includes(hanging));
    }).pipe(Effect.scoped),
  );

  it.live("is replaced when it was killed, and requests that it did not answer fail", () =>
    Effect.gen(function* () {
      const { stat, processes } = yield* setUp;
      yield* stat();
      const [running = 0] = processes();
      process.kill(running, "SIGSTOP");
      const unanswered = yield* Effect.forkChild(Effect.flip(stat()), { startImmediately: true });
      process.kill(running, "SIGKILL");
      const fault = yield* Fiber.join(unanswered);
      assert.strictEqual(fault.code, "EPIPE");
      assert.include(fault.message, "SIGKILL");
      assert.deepStrictEqual(yield* stat(), { type: "Directory" });
    }).pipe(Effect.scoped),
  );

  it.live("forgets an interrupted request", () =>
    Effect.gen(function* () {
      const { volume, stat, request, processes } = yield* setUp;
      yield* stat();
      const [running = 0] = processes();
      process.kill(running, "SIGSTOP");
      const args = { path: join(volume, "file"), content: "" };
      const writing = yield* Effect.forkChild(request("files.write", args, Schema.Null), {
        startImmediately: true,
      });
      yield* Fiber.interrupt(writing);
      process.kill(running, "SIGCONT");
      assert.deepStrictEqual(yield* stat(), { type: "Directory" });
    }).pipe(Effect.scoped),
  );

  it.live.each([
    ["ENOENT", { RUNPOD_VOLUME_PATH: "/no-such-volume" }],
    ["ENOSYS", { RUNPOD_VOLUME_PATH: "/tmp", PATH: "/nonexistent" }],
  ] as const)("is not started where it is not possible: %s", ([code, variables]) =>
    Effect.gen(function* () {
      const environment = Environment.layerOf(variables);
      const services = yield* Layer.build(Layer.provide(VolumeProcess.layer, environment));
      const { request } = yield* Effect.provideContext(VolumeProcess, services);
      const fault = yield* Effect.flip(request("files.stat", { path: "/tmp" }, Stat));
      assert.strictEqual(fault.code, code);
    }).pipe(Effect.scoped),
  );

  it.live("uses WORKER_PYTHON if there is no python3 on PATH", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const python = join(folder, "own-python");
      writeFileSync(python, '#!/bin/sh\nexec /usr/bin/env -i PATH="$REAL" python3 "$@"\n', {
        mode: 0o755,
      });
      const environment = Environment.layerOf({
        RUNPOD_VOLUME_PATH: folder,
        PATH: "/nonexistent",
        REAL: process.env["PATH"],
        WORKER_PYTHON: python,
      });
      const services = yield* Layer.build(Layer.provide(VolumeProcess.layer, environment));
      const { request } = yield* Effect.provideContext(VolumeProcess, services);
      const found = yield* request("files.stat", { path: folder }, Stat);
      assert.deepStrictEqual(found, { type: "Directory" });
    }).pipe(Effect.scoped),
  );
});
