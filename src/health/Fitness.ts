import { statfs } from "node:fs/promises";
import { tmpdir } from "node:os";

import { Context, Effect, FileSystem, Layer, Option, Schema } from "effect";

import { Programs } from "../platform/Programs.ts";
import { diskFault } from "../platform/files/DiskFault.ts";
import { probeWrite } from "../platform/files/Writability.ts";
import { PROTOCOL_VERSION } from "../queue/Heartbeat.ts";
import { JobQueue } from "../queue/JobQueue.ts";
import * as Setting from "../settings/Setting.ts";
import { Interpreters } from "../venv/Interpreters.ts";
import { Volume } from "../workspace/Volume.ts";

export const REQUIRE_GPU = Setting.flag({
  name: "WORKER_REQUIRE_GPU",
  doc: "Do not start without a GPU that works.",
});

const MIN_MEMORY = Setting.optionalNumber({
  name: "RUNPOD_MIN_MEMORY_GB",
  doc: "Do not start with less free memory than this.",
  unit: "GB",
  fallback: "none: below 1 GB there is a warning",
});

const MIN_DISK = Setting.optionalNumber({
  name: "RUNPOD_MIN_DISK_PERCENT",
  doc: "Do not start with less free space than this on the container's disk.",
  unit: "percent",
  fallback: "none: below 5 percent there is a warning",
});

/** Below these there is a warning: GB of memory, percent of the disk. */
const LOW_MEMORY = 1;
const LOW_DISK = 5;

/** A check that takes longer than this has failed, in seconds. */
const PATIENCE = 10;

/** CUDA takes a while to start on a machine with many GPUs; a driver that hangs never does, in seconds. */
const CUDA_PATIENCE = 60;

/** The service hears of it within this, or not: seconds, characters. */
const REPORT_LIMIT = 2;
const REASON_LENGTH = 256;

/** This machine can't do the work. */
export class Unfit extends Schema.TaggedError<Unfit>()("Unfit", {
  /** What was looked at. */
  check: Schema.Literals(["python", "disk", "gpu", "memory"]),
  reason: Schema.String,
}) {
  override get message(): string {
    return `This worker can't take jobs: ${this.reason}`;
  }
}

const inTime =
  (check: Unfit["check"], seconds = PATIENCE) =>
  (effect: Effect.Effect<unknown, Unfit>) =>
    Effect.timeoutOrElse(Effect.asVoid(effect), {
      duration: { seconds },
      orElse: () =>
        Effect.fail(
          new Unfit({ check, reason: `the check of ${check} took more than ${seconds} seconds` }),
        ),
    });

/** How it says that there is none, as on a machine without a GPU. */
const NO_DRIVER = "no driver: ";

/** Asks the driver itself, in a process of its own, so that jobs may still choose their devices. */
const CUDA = `import ctypes, sys
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError as error:
    sys.exit("no driver: %s" % error)
count = ctypes.c_int()
code = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
assert code == 0, "CUDA error %d" % code
assert count.value > 0, "no device"`;

/** What a machine must have before it takes a job; a few milliseconds' work. */
export class Fitness extends Context.Service<
  Fitness,
  {
    /** Fails with what is missing, after the service was told. */
    readonly check: Effect.Effect<void, Unfit>;
    /** Whether a GPU must be there. */
    readonly requiresGpu: boolean;
    /**
     * Checks that a required GPU is still there and that CUDA works with this interpreter; slower than the first check.
     * Reports to the service before it fails.
     */
    readonly checkCuda: (python: string) => Effect.Effect<void, Unfit>;
    /** Reports to the service that this worker is unfit, and fails. */
    readonly refuse: (unfit: Unfit) => Effect.Effect<never, Unfit>;
  }
>()("worker-tetra/health/Fitness") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const programs = yield* Programs;
      const python = yield* Interpreters;
      const volume = yield* Volume;
      const queue = yield* JobQueue;
      const requireGpu = yield* REQUIRE_GPU.value;
      const minMemory = yield* MIN_MEMORY.value;
      const minDisk = yield* MIN_DISK.value;

      const hasPython = Effect.mapError(
        python.base,
        ({ message }) => new Unfit({ check: "python", reason: message }),
      );

      const canWrite = (folder: string) => probeWrite(files, folder);

      /** The container's disk is needed only where the network volume can't be used. */
      const hasDisk = Effect.gen(function* () {
        const { directory } = volume.own;
        const own = yield* files
          .makeDirectory(directory, { recursive: true })
          .pipe(
            Effect.mapError(diskFault(directory, "can't be made")),
            Effect.andThen(canWrite(directory)),
            Effect.result,
          );
        if (own._tag === "Success") return;
        const shared = yield* Effect.orElseSucceed(volume.shared, Option.none);
        if (Option.isSome(shared)) return;
        return yield* new Unfit({ check: "disk", reason: own.failure.message });
      });

      /** Every Python process has its pipes and sources in one: in the usual place, or in a fallback. */
      const hasTemporaryFolder = Effect.scoped(
        files.makeTempDirectoryScoped({ prefix: "worker-tetra-" }),
      ).pipe(
        Effect.mapError(
          (error) =>
            new Unfit({
              check: "disk",
              reason: `the temporary folder is not usable: ${diskFault(tmpdir(), "can't be written to")(error).message} Or set TMPDIR to a writable folder.`,
            }),
        ),
      );

      /** Fails below a limit that somebody set, else warns below ours. */
      const enough = Effect.fnUntraced(function* (
        check: "memory" | "disk",
        have: number,
        limit: Option.Option<number>,
        low: number,
        shown: (value: number) => string,
      ) {
        if (Option.isSome(limit) && have < limit.value) {
          return yield* new Unfit({
            check,
            reason: `${shown(have)} free, and ${shown(limit.value)} are required. Choose a bigger machine or lower the limit.`,
          });
        }
        if (have < low) yield* Effect.logWarning(`Only ${shown(have)} free: jobs may fail`);
      });

      const hasMemory = Effect.suspend(() =>
        enough(
          "memory",
          process.availableMemory() / 1e9,
          minMemory,
          LOW_MEMORY,
          (gigabytes) => `${gigabytes.toFixed(1)} GB of memory`,
        ),
      );

      const hasSpace = Effect.option(Effect.tryPromise(() => statfs("/"))).pipe(
        Effect.flatMap(
          Option.match({
            onNone: () => Effect.void,
            onSome: ({ bavail, blocks }) =>
              enough(
                "disk",
                (100 * bavail) / blocks,
                minDisk,
                LOW_DISK,
                (percent) => `${percent.toFixed(0)} percent of the container's disk`,
              ),
          }),
        ),
      );

      const hasGpu = Effect.suspend(() =>
        requireGpu
          ? programs.run("nvidia-smi", ["-L"]).pipe(
              Effect.mapError(
                ({ output }) =>
                  new Unfit({
                    check: "gpu",
                    reason: `WORKER_REQUIRE_GPU is set, and nvidia-smi does not find a GPU: ${output.trim()}`,
                  }),
              ),
              Effect.asVoid,
            )
          : Effect.void,
      );

      const report = ({ check, reason }: Unfit) =>
        Effect.ignore(
          queue.ping(
            {
              status: "unhealthy",
              check,
              reason: reason.slice(0, REASON_LENGTH),
              runpod_version: PROTOCOL_VERSION,
            },
            REPORT_LIMIT,
          ),
        );

      return Fitness.of({
        requiresGpu: requireGpu,
        check: Effect.all(
          [
            inTime("python")(hasPython),
            inTime("disk")(hasDisk),
            inTime("disk")(hasTemporaryFolder),
            inTime("gpu")(hasGpu),
            hasMemory,
            hasSpace,
          ],
          { concurrency: "unbounded", discard: true },
        ).pipe(Effect.tapError(report), Effect.withSpan("Fitness.check")),
        checkCuda: Effect.fn("Fitness.checkCuda")(
          function* (executable: string) {
            yield* hasGpu;
            const outcome = yield* Effect.result(programs.run(executable, ["-I", "-c", CUDA]));
            if (outcome._tag === "Success") return;
            const { output } = outcome.failure;
            if (!requireGpu && output.includes(NO_DRIVER)) return;
            const reason = `the GPU can't be used: ${output.trim().split("\n").at(-1)}`;
            return yield* new Unfit({ check: "gpu", reason });
          },
          inTime("gpu", CUDA_PATIENCE),
          Effect.tapError(report),
        ),
        refuse: (unfit) => Effect.andThen(report(unfit), Effect.fail(unfit)),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([Programs.layer, Interpreters.layer, Volume.layer, JobQueue.layer]),
  );
}
