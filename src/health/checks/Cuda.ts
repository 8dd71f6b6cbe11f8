import { Duration, Effect } from "effect";

import { Programs } from "../../platform/programs/Programs.ts";
import { withTimeout, type Outcome, required } from "../Check.ts";
import { findRequiredGpu, NOT_REQUIRED, REQUIRE_GPU } from "./Gpu.ts";

/** Starting CUDA takes a while on a machine with many GPUs. */
const CUDA_TIMEOUT = Duration.minutes(1);

/** The script below prints this on a machine without a driver, usually one without a GPU. */
const NO_DRIVER = "no driver: ";

/** Initializes the driver in a separate process, so that jobs can still choose their devices. */
const CUDA = `import ctypes, sys
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError as error:
    sys.exit("no driver: %s" % error)
count = ctypes.c_int()
code = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
assert code == 0, "CUDA error %d" % code
assert count.value > 0, "no device"`;

/** Checks that a required GPU is still available and that CUDA works with this interpreter. */
export const cudaOf = (python: string) => {
  const probe = Effect.gen(function* () {
    const isRequired = yield* REQUIRE_GPU.value;
    const found = yield* findRequiredGpu(isRequired);
    if (found.state !== "ok") return found;
    const initialize = (yield* Programs).run(python, ["-I", "-c", CUDA]);
    return yield* Effect.match(initialize, {
      onSuccess: (): Outcome => ({ state: "ok", detail: "CUDA works" }),
      onFailure: ({ output }): Outcome =>
        !isRequired && output.includes(NO_DRIVER)
          ? NOT_REQUIRED
          : {
              state: "missing",
              detail: `the GPU can't be used: ${output.trim().split("\n").at(-1)}`,
            },
    });
  }).pipe(withTimeout("gpu", "missing", CUDA_TIMEOUT));
  return required({ subject: "CUDA", reportedAs: "gpu", probe });
};
