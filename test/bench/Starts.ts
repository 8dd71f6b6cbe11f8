import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { NodeServices } from "@effect/platform-node";
import { Effect, FileSystem, Layer, Option } from "effect";

import { Programs } from "../../src/platform/programs/Programs.ts";
import { RunnerProcesses } from "../../src/runner/RunnerProcess.ts";
import { configure, startProcess } from "../../src/runner/RunnerSession.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { Uv } from "../../src/venv/Uv.ts";
import { LINK_MODE } from "../../src/venv/uv/UvEnvironment.ts";
import type { PreparedWorkspace } from "../../src/workspace/PreparedWorkspace.ts";
import { Workspace } from "../../src/workspace/Workspace.ts";
import { compare, median, milliseconds, timed } from "./Pairs.ts";

const WORKER = fileURLToPath(new URL("../support/processes/workspaceWorker.ts", import.meta.url));

/** Workers that start at the same time. */
const CROWD = 16;

/** The default of WORKSPACE_LOCK_POLL_INTERVAL, in milliseconds. */
const POLL_INTERVAL = 500;

const variables = (volume: string) => ({
  ...process.env,
  RUNPOD_VOLUME_PATH: volume,
  WORKER_APP_PATH: "/nonexistent",
});

/** A worker on a volume, until it can run its first call. */
const start = (volume: string, settings: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function* () {
    const prepared = yield* (yield* Workspace).ready;
    yield* bootIn(prepared);
    return prepared;
  }).pipe(
    Effect.scoped,
    Effect.provide(
      // Fresh: otherwise the layer shares the workspace of the other rows.
      Layer.fresh(
        Layer.provide(Workspace.layer, Environment.layerOf({ ...variables(volume), ...settings })),
      ),
    ),
  );

const bootIn = (prepared: PreparedWorkspace) =>
  startProcess({
    python: prepared.python,
    environment: prepared.environment,
    directory: prepared.directory,
  }).pipe(
    Effect.flatMap((booting) =>
      configure(booting, { maxInstances: 1, instanceIdle: Option.none() }),
    ),
    Effect.provide(RunnerProcesses.layer),
  );

/** An empty folder instead of a volume. */
const emptyVolume = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  return yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-volume-" });
});

/** Starts workers as separate processes, and measures until the last is ready. */
const crowd = (volume: string) =>
  Effect.forEach(
    Array.from({ length: CROWD }),
    () =>
      Effect.acquireUseRelease(
        Effect.sync(() =>
          spawn(process.execPath, [WORKER], {
            env: variables(volume),
            stdio: ["pipe", "pipe", "ignore"],
          }),
        ),
        (child) =>
          Effect.callback<void>((done) => {
            child.stdout.once("data", () => done(Effect.void));
          }),
        (child) => Effect.sync(() => child.kill("SIGKILL")),
      ),
    { concurrency: "unbounded" },
  );

const tools = Layer.merge(Uv.layer, Programs.layer).pipe(
  Layer.provide(Environment.layerOf(process.env)),
);

export const warmStart = Effect.gen(function* () {
  const volume = yield* emptyVolume;
  const prepared = yield* start(volume);
  // The interpreter itself, as in the images: a shim takes extra time at each start.
  const warm = start(volume, { WORKER_PYTHON: prepared.basePython });
  const alone = Effect.scoped(bootIn(prepared));
  const { ours, baseline, pairs } = yield* compare(30, timed(warm), timed(alone));
  const ratio = median(ours) / median(baseline);
  return {
    what: `ready on a warm volume (${pairs} pairs)`,
    ours: milliseconds(ours),
    baseline: `start of the runner alone ${milliseconds(baseline)}`,
    bar: `1.2x, it is ${ratio.toFixed(2)}x`,
    met: ratio <= 1.2,
  };
}).pipe(Effect.scoped, Effect.provide(NodeServices.layer));

export const coldStart = Effect.gen(function* () {
  const cache = join(tmpdir(), "worker-tetra-bench-uv");
  const filled = { UV_CACHE_DIR: cache, UV_LINK_MODE: LINK_MODE };
  const prepared = yield* start(yield* emptyVolume);
  const uv = yield* (yield* Uv).command;
  const programs = yield* Programs;
  const ours = Effect.gen(function* () {
    const volume = yield* emptyVolume;
    const environment = Environment.layerOf({ ...variables(volume), ...filled });
    return yield* timed(
      Effect.gen(function* () {
        yield* bootIn(yield* (yield* Workspace).ready);
      }).pipe(
        Effect.scoped,
        Effect.provide(Layer.fresh(Layer.provide(Workspace.layer, environment))),
      ),
    );
  }).pipe(Effect.scoped);
  const bare = Effect.gen(function* () {
    const prefix = join(yield* emptyVolume, "venv");
    const python = join(prefix, "bin", "python");
    return yield* timed(
      Effect.gen(function* () {
        const options = { environment: filled };
        yield* programs.run(uv, ["venv", "-q", "--python", prepared.basePython, prefix], options);
        yield* programs.run(
          uv,
          ["pip", "install", "-q", "--python", python, "cloudpickle", "aiohttp"],
          options,
        );
        yield* Effect.scoped(bootIn({ ...prepared, python }));
      }),
    );
  }).pipe(Effect.scoped);
  yield* Effect.all([ours, bare]);
  const result = yield* compare(30, ours, bare);
  const ratio = median(result.ours) / median(result.baseline);
  return {
    what: `ready on an empty volume with a warm uv cache (${result.pairs} pairs)`,
    ours: milliseconds(result.ours),
    baseline: `uv venv, uv pip install and the runner ${milliseconds(result.baseline)}`,
    bar: `none; it is ${ratio.toFixed(2)}x`,
    met: true,
  };
}).pipe(Effect.scoped, Effect.provide([tools, NodeServices.layer]));

export const crowdStart = Effect.gen(function* () {
  const warm = yield* emptyVolume;
  const build = yield* timed(start(warm));
  const cold = Effect.scoped(Effect.flatMap(emptyVolume, (volume) => timed(crowd(volume))));
  const { ours, baseline, pairs } = yield* compare(5, cold, timed(crowd(warm)));
  const limit = 1.3 * median(baseline) + build + POLL_INTERVAL;
  return {
    what: `${CROWD} workers at once on an empty volume (${pairs} pairs)`,
    ours: milliseconds(ours),
    baseline: `on a warm volume ${milliseconds(baseline)}`,
    bar: `1.3x + one build + one poll interval = ${limit.toPrecision(3)} ms`,
    met: median(ours) <= limit,
  };
}).pipe(Effect.scoped, Effect.provide(NodeServices.layer));
