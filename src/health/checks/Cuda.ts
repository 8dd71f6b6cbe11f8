import { Duration, Effect } from "effect";

import { Programs } from "../../platform/Programs.ts";
import { inTime, type Outcome, required } from "../Check.ts";
import { findRequiredGpu, NOT_REQUIRED, REQUIRE_GPU } from "./Gpu.ts";

/** CUDA takes a while to start on a machine with many GPUs; a driver that hangs never does. */
const TIME_LIMIT = Duration.minutes(1);

/** How the script below says that there is no driver, as on a machine without a GPU. */
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

/** Whether a required GPU is still there and CUDA works with this interpreter; takes longer than the other checks. */
export const cudaOf = (python: string) => {
  const look = Effect.gen(function* () {
    const isRequired = yield* REQUIRE_GPU.value;
    const found = yield* findRequiredGpu(isRequired);
    if (found.state !== "ok") return found;
    const asked = (yield* Programs).run(python, ["-I", "-c", CUDA]);
    return yield* Effect.match(asked, {
      onSuccess: (): Outcome => ({ state: "ok", detail: "CUDA works" }),
      onFailure: ({ output }): Outcome =>
        !isRequired && output.includes(NO_DRIVER)
          ? NOT_REQUIRED
          : {
              state: "missing",
              detail: `the GPU can't be used: ${output.trim().split("\n").at(-1)}`,
            },
    });
  }).pipe(inTime("gpu", "missing", TIME_LIMIT));
  return required({ subject: "CUDA", refusal: "gpu", look });
};
