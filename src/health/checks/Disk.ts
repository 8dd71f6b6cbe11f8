import { Effect, Option } from "effect";

import { DiskUsage, formatBytes } from "../../platform/files/DiskUsage.ts";
import * as Setting from "../../settings/Setting.ts";
import { check, type Outcome, required } from "../Check.ts";
import { assessFree } from "./Limits.ts";
import { CurrentPlace } from "./Volume.ts";

export const MIN_DISK = Setting.optionalNumber({
  name: "RUNPOD_MIN_DISK_PERCENT",
  doc: "Minimum free space on the container's disk; with less, the worker does not start.",
  unit: "percent",
  fallback: "none: warns below 5 percent",
});

/** Less free space on the container's disk is a warning. */
const LOW_DISK_PERCENT = 5;

/** Less free space on the workspace's disk is a warning. */
const LOW_SPACE_BYTES = 5e9;

/** The free space on the workspace's disk. */
export const disk = check(
  "Disk",
  Effect.gen(function* () {
    const { directory, shared } = (yield* CurrentPlace).place;
    const space = yield* (yield* DiskUsage).space(directory);
    if (Option.isNone(space)) {
      return {
        state: "warning",
        detail: `the free space of ${directory} is unknown`,
      } satisfies Outcome;
    }
    const { free, total } = space.value;
    const quota = shared ? "; the quota of a network volume is shown only in RunPod's console" : "";
    const detail = `${formatBytes(free)} free of ${formatBytes(total)}${quota}`;
    return free < LOW_SPACE_BYTES
      ? ({
          state: "warning",
          detail,
          advice:
            "Packages and models may not fit. `worker-tetra prune` shows what can be deleted.",
        } satisfies Outcome)
      : ({ state: "ok", detail } satisfies Outcome);
  }),
);

const findContainerDisk = Effect.gen(function* () {
  const limit = yield* MIN_DISK.value;
  const space = yield* (yield* DiskUsage).space("/");
  return Option.match(space, {
    onNone: (): Outcome => ({ state: "ok", detail: "unknown" }),
    onSome: ({ free, total }) =>
      assessFree(
        (100 * free) / total,
        limit,
        LOW_DISK_PERCENT,
        (percent) => `${percent.toFixed(0)} percent of the container's disk`,
      ),
  });
});

/** The free space on the container's disk. */
export const containerDisk = required({
  subject: "Root disk",
  reportedAs: "disk",
  probe: findContainerDisk,
  showsOk: false,
});
