import { Context, Duration, Effect, Layer, Scope } from "effect";

import { temporaryFolder } from "../support/files/TemporaryFolder.ts";
import { hasMooseFs, mooseFs, skippedWithoutMooseFs } from "../support/moosefs/MooseFs.ts";
import { bundled } from "./Bundle.ts";
import { container, coolDown, jobOf, prepareVolume } from "./Containers.ts";
import { compare, median, milliseconds, timed } from "./Pairs.ts";
import type { Row } from "./Rows.ts";

/** Requirements of PyTorch, separated by commas. The default has CUDA and 5 GB; `torch==2.13.0+cpu` is smaller. */
const TORCH = (process.env["BENCH_TORCH"] ?? "torch").split(",");
const TORCH_JOB = jobOf("import torch; return int(torch.ones(4).sum())", TORCH);

/** The cache of the machine is emptied before each of these starts. */
const COLD_PAIRS = Number(process.env["BENCH_COLD_PAIRS"] ?? 5);
const INSTALL_PAIRS = 7;
const LATER_INSTALL_PAIRS = 3;
const WARM_STARTS = 5;

const IDLE = Duration.seconds(15);
const MAX_AFTER_IDLE = Duration.millis(300);

const MAX_OPERATIONS = 60;

const PACKAGES_JOB = jobOf("return 1", ["numpy", "pandas", "requests"]);
const TRIVIAL_JOB = jobOf("return 1");

const makeVolumes = Effect.gen(function* () {
  const scope = yield* Effect.scope;
  const both = yield* Effect.cached(
    Effect.gen(function* () {
      yield* bundled;
      return { system: yield* mooseFs({ size: "disk" }), local: yield* temporaryFolder };
    }).pipe(Scope.provide(scope)),
  );
  /** Both, after workers have run this job on them. The second one starts as all later ones. */
  const preparedFor = (job: unknown, endpoint: string) =>
    Effect.cached(
      Effect.tap(both, ({ system, local }) =>
        Effect.forEach(
          [system.a.path, system.b.path, local, local],
          (volume) => prepareVolume(volume, job, { RUNPOD_ENDPOINT_ID: endpoint }),
          { discard: true },
        ),
      ),
    );
  return {
    torch: yield* preparedFor(TORCH_JOB, "torch"),
    packages: yield* preparedFor(PACKAGES_JOB, "packages"),
    empty: yield* preparedFor(TRIVIAL_JOB, "empty"),
  };
});

/** A volume on MooseFS and one on the local disk, which all rows share. Both are made when a row needs them. */
export class Volumes extends Context.Service<Volumes, Effect.Success<typeof makeVolumes>>()(
  "worker-tetra/test/bench/Volumes",
) {
  static readonly layer = Layer.effect(this, makeVolumes);
}

/** A row; where MooseFS can't run, it says why. */
const row = <E, R>(what: string, measured: Effect.Effect<Omit<Row, "what">, E, R>) =>
  hasMooseFs
    ? Effect.map(measured, (result): Row => ({ what, ...result }))
    : Effect.succeed<Row>({
        what: `${what}${skippedWithoutMooseFs}`,
        ours: "-",
        baseline: "-",
        bar: "-",
        met: true,
      });

interface ColdVolume {
  readonly path: string;
  /** Empties the caches of its client. */
  readonly remount: Effect.Effect<void>;
}

/** The time to the answer to the first job of a cold container; the job waits for the worker, or comes later. */
const firstTorchJob = ({ path, remount }: ColdVolume, idle: Duration.Duration) =>
  Effect.gen(function* () {
    const { service, start, answer } = yield* container(path, { RUNPOD_ENDPOINT_ID: "torch" });
    yield* remount;
    yield* coolDown;
    const submit = Effect.suspend(() => answer(service.submit(TORCH_JOB)));
    if (Duration.isZero(idle)) return yield* timed(Effect.andThen(start, submit));
    yield* start;
    yield* service.seen("take", 1);
    yield* Effect.sleep(idle);
    return yield* timed(submit);
  }).pipe(Effect.scoped);

const torchRow = (
  what: string,
  idle: Duration.Duration,
  barOf: (ours: number, baseline: number) => { readonly bar: string; readonly met: boolean },
) =>
  row(
    `${what} (${COLD_PAIRS} pairs, ${TORCH.join(", ")})`,
    Effect.gen(function* () {
      const { system, local } = yield* (yield* Volumes).torch;
      const { ours, baseline } = yield* compare(
        COLD_PAIRS,
        firstTorchJob(system.b, idle),
        firstTorchJob({ path: local, remount: Effect.void }, idle),
      );
      return {
        ours: milliseconds(ours),
        baseline: `on the local disk ${milliseconds(baseline)}`,
        ...barOf(median(ours), median(baseline)),
      };
    }),
  );

const atMost = (limit: number) => (ours: number, baseline: number) => ({
  bar: `${limit}x, it is ${(ours / baseline).toFixed(2)}x`,
  met: ours <= limit * baseline,
});

export const volumeFirstJob = torchRow(
  "volume: the first job of a cold container, which imports torch",
  Duration.zero,
  atMost(1.3),
);

export const volumeIdleJob = torchRow(
  `volume: the same ${Duration.toSeconds(IDLE)} s after the start`,
  IDLE,
  (ours) => ({
    bar: `${Duration.toMillis(MAX_AFTER_IDLE)} ms`,
    met: ours <= Duration.toMillis(MAX_AFTER_IDLE),
  }),
);

let endpoints = 0;

/** The time of a job whose packages another endpoint has installed before, in the first or a later container. */
const install = (volume: string, isFirst: boolean) =>
  Effect.gen(function* () {
    endpoints += 1;
    const settings = { RUNPOD_ENDPOINT_ID: `install-${endpoints}` };
    if (!isFirst) yield* prepareVolume(volume, TRIVIAL_JOB, settings);
    const { service, start, answer } = yield* container(volume, settings);
    yield* start;
    yield* answer(service.submit(TRIVIAL_JOB));
    return yield* timed(Effect.suspend(() => answer(service.submit(PACKAGES_JOB))));
  }).pipe(Effect.scoped);

const installRow = (where: string, pairs: number, isFirst: boolean) =>
  row(
    `volume: a job that installs cached packages, numpy, pandas and requests, in ${where} (${pairs} pairs)`,
    Effect.gen(function* () {
      const { system, local } = yield* (yield* Volumes).packages;
      const { ours, baseline } = yield* compare(
        pairs,
        install(system.b.path, isFirst),
        install(local, isFirst),
      );
      return {
        ours: milliseconds(ours),
        baseline: `on the local disk ${milliseconds(baseline)}`,
        ...atMost(1.5)(median(ours), median(baseline)),
      };
    }),
  );

export const volumeInstall = installRow("the first container of an endpoint", INSTALL_PAIRS, true);

export const volumeLaterInstall = installRow("a later container", LATER_INSTALL_PAIRS, false);

export const volumeOperations = row(
  `volume: operations of a warm start until the first take (${WARM_STARTS} starts)`,
  Effect.gen(function* () {
    const { system } = yield* (yield* Volumes).empty;
    const counts = yield* Effect.forEach(Array.from({ length: WARM_STARTS }), () =>
      Effect.gen(function* () {
        const { service, start } = yield* container(system.b.path, { RUNPOD_ENDPOINT_ID: "empty" });
        const ready = Effect.andThen(start, service.seen("take", 1));
        return (yield* system.b.counted(ready)).operations;
      }).pipe(Effect.scoped),
    );
    const fuse = median(counts.map((count) => count.fuse));
    return {
      ours: `${fuse} operations`,
      baseline: `requests to the master ${median(counts.map((count) => count.roundTrips))}`,
      bar: `at most ${MAX_OPERATIONS}`,
      met: fuse <= MAX_OPERATIONS,
    };
  }),
);
