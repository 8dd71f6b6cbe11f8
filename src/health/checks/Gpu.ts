import { Effect } from "effect";

import { Programs } from "../../platform/Programs.ts";
import * as Setting from "../../settings/Setting.ts";
import { inTime, type Outcome, required, withQuickLook } from "../Check.ts";

export const REQUIRE_GPU = Setting.flag({
  name: "WORKER_REQUIRE_GPU",
  doc: "Do not start without a GPU that works.",
});

/** `a, 80 GB, driver 1; b, …` from lines of nvidia-smi. */
const gpusOf = (lines: string): string =>
  lines
    .trim()
    .split("\n")
    .map((line) => {
      const [name, driver, memory] = line.split(", ");
      return `${name}, ${memory}, driver ${driver}`;
    })
    .join("; ");

const findGpu = Effect.fnUntraced(function* (isRequired: boolean) {
  const asked = (yield* Programs).run("nvidia-smi", [
    "--query-gpu=name,driver_version,memory.total",
    "--format=csv,noheader",
  ]);
  return yield* Effect.match(asked, {
    onSuccess: (lines): Outcome => ({ state: "ok", detail: gpusOf(lines) }),
    onFailure: ({ output }): Outcome =>
      isRequired
        ? {
            state: "missing",
            detail: "WORKER_REQUIRE_GPU is set, and nvidia-smi finds no GPU",
            reason: `WORKER_REQUIRE_GPU is set, and nvidia-smi does not find a GPU: ${output.trim()}`,
            advice: "Start the container with a GPU (--gpus all), or unset the variable.",
          }
        : { state: "ok", detail: "none (nvidia-smi finds none)" },
  });
});

export const NOT_REQUIRED: Outcome = { state: "ok", detail: "not required" };

/** `start` does not look for a GPU that it does not need. */
export const findRequiredGpu = (isRequired: boolean) =>
  isRequired ? findGpu(true) : Effect.succeed(NOT_REQUIRED);

export const gpu = withQuickLook(
  required({
    subject: "GPU",
    refusal: "gpu",
    look: Effect.flatMap(REQUIRE_GPU.value, (isRequired) =>
      inTime("gpu", isRequired ? "missing" : "warning")(findGpu(isRequired)),
    ),
  }),
  Effect.flatMap(REQUIRE_GPU.value, findRequiredGpu).pipe(inTime("gpu", "missing")),
);
