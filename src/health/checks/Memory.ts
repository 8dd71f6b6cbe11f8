import { Effect } from "effect";

import * as Setting from "../../settings/Setting.ts";
import { required } from "../Check.ts";
import { enough } from "./Limits.ts";

export const MIN_MEMORY = Setting.optionalNumber({
  name: "RUNPOD_MIN_MEMORY_GB",
  doc: "Do not start with less free memory than this.",
  unit: "GB",
  fallback: "none: below 1 GB there is a warning",
});

const LOW_MEMORY_GB = 1;

const look = Effect.map(MIN_MEMORY.value, (limit) =>
  enough(
    process.availableMemory() / 1e9,
    limit,
    LOW_MEMORY_GB,
    (gigabytes) => `${gigabytes.toFixed(1)} GB of memory`,
  ),
);

export const memory = required({
  subject: "Memory",
  refusal: "memory",
  look,
  showsOk: false,
});
