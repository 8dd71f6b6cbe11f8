import { Effect } from "effect";

import { Programs } from "../../platform/programs/Programs.ts";
import * as Setting from "../../settings/Setting.ts";
import { withTimeout, type Outcome, required, withQuickProbe } from "../Check.ts";

export const REQUIRE_GPU = Setting.flag({
  name: "WORKER_REQUIRE_GPU",
  doc: "Require a working GPU; without one, the worker does not start.",
});

/** Lines of nvidia-smi as `A100, 80 GB, driver 550.1; T4, …`. */
const gpusOf = (lines: string): string =>
  lines
    .trim()
    .split("\n")
    .map((line) => {
      const [name, driver, memory] = line.split(", ");
      return `${name}, ${memory}, driver ${driver}`;
    })
    .join("; ");

const noGpu = (output: string): Outcome => ({
  state: "missing",
  detail: "WORKER_REQUIRE_GPU is set, but nvidia-smi finds no GPU",
  reason: `WORKER_REQUIRE_GPU is set, but nvidia-smi finds no GPU: ${output.trim()}`,
  advice: "Start the container with a GPU (--gpus all), or unset WORKER_REQUIRE_GPU.",
});

const findGpu = Effect.fnUntraced(function* (isRequired: boolean) {
  const query = (yield* Programs).run("nvidia-smi", [
    "--query-gpu=name,driver_version,memory.total",
    "--format=csv,noheader",
  ]);
  return yield* Effect.match(query, {
    onSuccess: (lines): Outcome => ({ state: "ok", detail: gpusOf(lines) }),
    onFailure: ({ output }): Outcome =>
      isRequired ? noGpu(output) : { state: "ok", detail: "none (nvidia-smi finds none)" },
  });
});

export const NOT_REQUIRED: Outcome = { state: "ok", detail: "not required" };

/** Searches for a GPU only if one is required. Only lists the GPUs: each query of their properties delays the first job. */
export const findRequiredGpu = Effect.fnUntraced(function* (isRequired: boolean) {
  if (!isRequired) return NOT_REQUIRED;
  const list = (yield* Programs).run("nvidia-smi", ["-L"]);
  return yield* Effect.match(list, {
    onSuccess: (lines): Outcome => ({ state: "ok", detail: lines.trim() }),
    onFailure: ({ output }) => noGpu(output),
  });
});

export const gpu = withQuickProbe(
  required({
    subject: "GPU",
    reportedAs: "gpu",
    probe: Effect.flatMap(REQUIRE_GPU.value, (isRequired) =>
      withTimeout("gpu", isRequired ? "missing" : "warning")(findGpu(isRequired)),
    ),
  }),
  Effect.flatMap(REQUIRE_GPU.value, findRequiredGpu).pipe(withTimeout("gpu", "missing")),
);
