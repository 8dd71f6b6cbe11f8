import { spawn } from "node:child_process";

import { NodeHttpClient, NodeServices } from "@effect/platform-node";
import { Effect, Layer, References } from "effect";

import { functionHandler } from "../../src/functions/FunctionHandler.ts";
import { RemoteExecutor } from "../../src/functions/RemoteExecutor.ts";
import type { Handler } from "../../src/queue/Handler.ts";
import { QueueWorker } from "../../src/queue/QueueWorker.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { Workspace } from "../../src/workspace/Workspace.ts";
import { fakeRunPod, type FakeRunPod } from "../support/fakes/FakeRunPod.ts";
import { BUNDLE, bundled, LIVE_REQUEST, ROOT, SETTINGS } from "./Bundle.ts";
import { compare, median, milliseconds, timed } from "./Pairs.ts";

/** Jobs in one timed batch. */
const BATCH = 100;

/** A worker with a separate stand-in of RunPod, and one of two handlers. */
const working = Effect.fnUntraced(function* <R>(
  handler: Handler<R>,
  concurrency: number,
  needs: Layer.Layer<R>,
) {
  const service = yield* fakeRunPod();
  const environment = Environment.layerOf({
    ...process.env,
    ...SETTINGS,
    ...service.variables,
    RUNPOD_PING_INTERVAL: "10000",
    WORKER_CONCURRENCY: String(concurrency),
  });
  yield* Effect.flatMap(QueueWorker, (worker) => worker.run(handler)).pipe(
    Effect.provide(
      Layer.fresh(
        QueueWorker.layer.pipe(
          Layer.merge(needs),
          Layer.provide(environment),
          Layer.provide([NodeServices.layer, NodeHttpClient.layerUndici]),
        ),
      ),
    ),
    // It is not drained at the end, and would log that.
    Effect.provideService(References.MinimumLogLevel, "None"),
    Effect.forkScoped,
  );
  return service;
});

/** The mean time per job of a batch, from the first submission to the last result. */
export const batch = (service: FakeRunPod, input: unknown = LIVE_REQUEST) =>
  timed(
    Effect.suspend(() => {
      const ids = Array.from({ length: BATCH }, () => service.submit(input));
      return Effect.forEach(ids, service.result, { discard: true });
    }),
  ).pipe(Effect.map((total) => total / BATCH));

const rate = (values: ReadonlyArray<number>) => `${Math.round(1000 / median(values))} jobs/s`;

/** The time of a single job, from its submission to its result. */
const single = (service: FakeRunPod) =>
  timed(Effect.suspend(() => service.result(service.submit(LIVE_REQUEST))));

const jobs = (concurrency: number) =>
  Effect.gen(function* () {
    const real = yield* working(
      functionHandler,
      concurrency,
      RemoteExecutor.layer.pipe(
        Layer.provide(
          Environment.layerOf({
            ...process.env,
            ...SETTINGS,
            WORKER_CONCURRENCY: String(concurrency),
          }),
        ),
        Layer.provide(NodeServices.layer),
        Layer.orDie,
      ),
    );
    const bare = yield* working(() => Effect.succeed(null), concurrency, Layer.empty);
    yield* Effect.all([batch(real), batch(bare), batch(real), batch(bare)]);
    const result = yield* compare(20, batch(real), batch(bare));
    const alone = yield* compare(100, single(real), single(bare));
    const limit = 1.5 * median(result.baseline) + 0.2;
    return {
      what: `jobs of the queue, ${concurrency} at a time (${result.pairs} pairs of ${BATCH}; one alone)`,
      ours: `${rate(result.ours)}, ${median(result.ours).toPrecision(3)} ms a job (alone ${milliseconds(alone.ours)})`,
      baseline: `a handler that returns immediately ${rate(result.baseline)}, ${median(result.baseline).toPrecision(3)} ms (alone ${milliseconds(alone.baseline)})`,
      bar: `1.5x + 0.2 ms = ${limit.toPrecision(3)} ms`,
      met: median(result.ours) <= limit,
    };
  }).pipe(Effect.scoped);

export const queueOne = jobs(1);
export const queueTen = jobs(10);

/** Takes per minute if the service responds immediately that there is no job. */
export const idleTakes = Effect.gen(function* () {
  const service = yield* fakeRunPod({ hold: 0 });
  const environment = Environment.layerOf({ ...service.variables });
  yield* Effect.flatMap(QueueWorker, (worker) => worker.run(() => Effect.succeed(null))).pipe(
    Effect.provide(
      Layer.fresh(
        QueueWorker.layer.pipe(
          Layer.provide(environment),
          Layer.provide([NodeServices.layer, NodeHttpClient.layerUndici]),
        ),
      ),
    ),
    Effect.forkScoped,
  );
  yield* service.seen("take", 20);
  const takes = service.requests.filter(({ route }) => route === "take");
  const [first, last] = [takes.at(0)?.at ?? 0, takes.at(19)?.at ?? 0];
  const rate = (19 * 60_000) / (last - first);
  return {
    what: "takes per minute if the service immediately responds with 204",
    ours: rate.toFixed(0),
    baseline: "none",
    bar: "at most 120",
    met: rate <= 120,
  };
}).pipe(Effect.scoped);

/** Starts a program, and kills it when the scope closes. */
export const started = (args: ReadonlyArray<string>, variables: Readonly<Record<string, string>>) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, args, {
        cwd: ROOT,
        env: { ...process.env, ...SETTINGS, ...variables },
        stdio: ["ignore", "pipe", "ignore"],
      }),
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL")),
  );

/** The time from the start of a program to its first heartbeat. The first take waits for Python. */
const untilHeartbeat = (args: ReadonlyArray<string>, python: string) =>
  Effect.gen(function* () {
    const service = yield* fakeRunPod();
    return yield* timed(
      Effect.andThen(
        started([...args, "start"], { ...service.variables, WORKER_PYTHON: python }),
        service.seen("ping", 1),
      ),
    );
  }).pipe(Effect.scoped);

const bareNode = timed(
  Effect.flatMap(started(["-e", "0"], {}), (child) =>
    Effect.callback<void>((done) => {
      child.once("close", () => done(Effect.void));
    }),
  ),
).pipe(Effect.scoped);

const startRow = (what: string, args: ReadonlyArray<string>, isBarred: boolean) =>
  Effect.gen(function* () {
    // The interpreter itself, as in the images: a shim takes extra time.
    const { basePython } = yield* (yield* Workspace).ready;
    const ours = untilHeartbeat(args, basePython);
    yield* Effect.all([ours, bareNode]);
    const result = yield* compare(20, ours, bareNode);
    const limit = 4 * median(result.baseline) + 50;
    return {
      what: `start to the first heartbeat, ${what} (${result.pairs} pairs)`,
      ours: milliseconds(result.ours),
      baseline: `node -e 0 ${milliseconds(result.baseline)}`,
      bar: isBarred ? `4x + 50 ms = ${limit.toFixed(0)} ms` : "none",
      met: !isBarred || median(result.ours) <= limit,
    };
  });

export const startOfSources = startRow("from its sources", ["src/main.ts"], false);
export const startOfBundle = Effect.andThen(
  bundled,
  startRow("bundled", ["dist/lib/worker-tetra.js"], false),
);
/** With the options of the images. */
export const startWithCache = Effect.andThen(
  bundled,
  startRow("bundled, with its compiled code kept", BUNDLE.slice(1), true),
);

/** The first job of an idle worker, compared with one that comes while Python starts. */
export const firstJob = Effect.gen(function* () {
  yield* bundled;
  const { basePython } = yield* (yield* Workspace).ready;
  const first = (wait: number) =>
    Effect.gen(function* () {
      const service = yield* fakeRunPod();
      yield* started(["dist/bin.mjs", "start"], {
        ...service.variables,
        WORKER_PYTHON: basePython,
      });
      yield* service.seen("take", 1);
      yield* Effect.sleep(wait);
      return yield* single(service);
    }).pipe(Effect.scoped);
  const result = yield* compare(10, first(1000), first(0));
  return {
    what: `the first job, a second after the first take (${result.pairs} pairs)`,
    ours: milliseconds(result.ours),
    baseline: `immediately ${milliseconds(result.baseline)}`,
    bar: "none: Python is started before the first take",
    met: true,
  };
});
