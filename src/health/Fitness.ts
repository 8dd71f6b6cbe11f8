import { Context, Duration, Effect, type FileSystem, Layer } from "effect";

import { DiskUsage } from "../platform/files/DiskUsage.ts";
import { Programs } from "../platform/programs/Programs.ts";
import { JobQueue } from "../queue/JobQueue.ts";
import { PROTOCOL_VERSION } from "../queue/reports/Heartbeat.ts";
import { Interpreters } from "../venv/Interpreters.ts";
import { Volume } from "../workspace/Volume.ts";
import type { RequiredCheck } from "./Check.ts";
import { MACHINE_CHECKS } from "./MachineChecks.ts";
import { Unfit } from "./Unfit.ts";
import { cudaOf } from "./checks/Cuda.ts";
import { MIN_DISK } from "./checks/Disk.ts";
import { REQUIRE_GPU } from "./checks/Gpu.ts";
import { MIN_MEMORY } from "./checks/Memory.ts";

/** A report to RunPod that takes longer is dropped. */
const REPORT_TIMEOUT = Duration.seconds(2);

/** A longer reason is cut in the report to RunPod. */
const MAX_REASON_CHARACTERS = 256;

/** The services that the required checks use. */
type Machine = Programs | DiskUsage | Interpreters | Volume | FileSystem.FileSystem;

type MachineCheck = (typeof MACHINE_CHECKS)[number];

const isRequired = (
  check: MachineCheck,
): check is Extract<MachineCheck, RequiredCheck<never, never>> => "reportedAs" in check;

/** Checks whether this machine can run jobs, and reports to RunPod if it can't. */
export class Fitness extends Context.Service<
  Fitness,
  {
    /** Runs the required checks, which take a few milliseconds. Reports to RunPod before it fails. */
    readonly check: Effect.Effect<void, Unfit>;
    readonly requiresGpu: boolean;
    /**
     * Checks that a required GPU is still available and that CUDA works with this interpreter; slower than `check`.
     * Reports to RunPod before it fails.
     */
    readonly checkCuda: (python: string) => Effect.Effect<void, Unfit>;
    /** Reports to RunPod that this worker is unhealthy, and fails. */
    readonly refuse: (unfit: Unfit) => Effect.Effect<never, Unfit>;
  }
>()("worker-tetra/health/Fitness") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const queue = yield* JobQueue;
      const machine = yield* Effect.context<Machine>();
      // Fails on an invalid setting before anything else runs.
      const requiresGpu = yield* REQUIRE_GPU.value;
      yield* Effect.all([MIN_MEMORY.value, MIN_DISK.value]);

      const refuseOn = Effect.fnUntraced(function* <R>({
        reportedAs,
        quickProbe,
      }: RequiredCheck<R, Machine>) {
        const { state, detail, reason = detail } = yield* Effect.provide(quickProbe, machine);
        if (state === "missing") return yield* new Unfit({ check: reportedAs, reason });
        if (state === "warning") yield* Effect.logWarning(detail);
      });

      const report = ({ check, reason }: Unfit) =>
        Effect.ignore(
          queue.ping(
            {
              status: "unhealthy",
              check,
              reason: reason.slice(0, MAX_REASON_CHARACTERS),
              runpod_version: PROTOCOL_VERSION,
            },
            REPORT_TIMEOUT,
          ),
        );

      return Fitness.of({
        requiresGpu,
        check: Effect.forEach(MACHINE_CHECKS.filter(isRequired), refuseOn, {
          concurrency: "unbounded",
          discard: true,
        }).pipe(Effect.tapError(report), Effect.withSpan("Fitness.check")),
        checkCuda: Effect.fn("Fitness.checkCuda")(
          (python: string) => refuseOn(cudaOf(python)),
          Effect.tapError(report),
        ),
        refuse: (unfit) => Effect.andThen(report(unfit), Effect.fail(unfit)),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([
      Programs.layer,
      DiskUsage.layer,
      Interpreters.layer,
      Volume.layer,
      JobQueue.layer,
    ]),
  );
}
