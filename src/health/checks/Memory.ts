import { Effect } from "effect";

import * as Setting from "../../settings/Setting.ts";
import { required } from "../Check.ts";
import { assessFree } from "./Limits.ts";

export const MIN_MEMORY = Setting.optionalNumber({
  name: "RUNPOD_MIN_MEMORY_GB",
  doc: "Minimum free memory; with less, the worker does not start.",
  unit: "GB",
  fallback: "none: warns below 1 GB",
});

/** Less free memory is a warning. */
const LOW_MEMORY_GB = 1;

const probe = Effect.map(MIN_MEMORY.value, (limit) =>
  assessFree(
    process.availableMemory() / 1e9,
    limit,
    LOW_MEMORY_GB,
    (gigabytes) => `${gigabytes.toFixed(1)} GB of memory`,
  ),
);

export const memory = required({
  subject: "Memory",
  reportedAs: "memory",
  probe,
  showsOk: false,
});
