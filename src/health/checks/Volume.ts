import { Context, Effect, FileSystem, Layer, Option } from "effect";

import { diskFault } from "../../platform/files/DiskFault.ts";
import { ABOUT_TRASH } from "../../platform/files/DiskUsage.ts";
import { probeWrite } from "../../platform/files/Writability.ts";
import type { Place } from "../../venv/Place.ts";
import { Volume, type VolumeNotWritable } from "../../workspace/Volume.ts";
import { check, withTimeout, type Outcome, required } from "../Check.ts";

/** The location of the workspace: the network volume, or the container's disk if there is no usable volume. */
export class CurrentPlace extends Context.Service<
  CurrentPlace,
  {
    readonly place: Place;
    /** Why the volume can't be used. */
    readonly fault: Option.Option<VolumeNotWritable>;
  }
>()("worker-tetra/health/checks/CurrentPlace") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const { shared, own } = yield* Volume;
      return yield* Effect.match(shared, {
        onSuccess: (place) => ({ place: Option.getOrElse(place, () => own), fault: Option.none() }),
        onFailure: (fault) => ({ place: own, fault: Option.some(fault) }),
      });
    }),
  );
}

export const volume = check(
  "Volume",
  Effect.map(CurrentPlace, ({ place, fault }): Outcome => {
    if (Option.isSome(fault)) {
      return {
        state: "warning",
        detail: fault.value.message,
        advice: `Until it is writable, workers use ${place.directory} on the container's disk.`,
      };
    }
    if (place.isFull === true) {
      return {
        state: "warning",
        detail: `${place.caches} is full (workspace ${place.directory})`,
        advice: `Delete files, or enlarge the volume. Until then, workers use an existing virtual environment without changes, or the container's disk. The command prune shows what is not used any more. ${ABOUT_TRASH}`,
      };
    }
    if (place.shared) {
      return { state: "ok", detail: `${place.caches} (workspace ${place.directory})` };
    }
    return {
      state: "ok",
      detail: `none; the workspace is ${place.directory}`,
      advice:
        "On RunPod, attach a network volume to the endpoint to keep packages and models when a container stops.",
    };
  }),
);

const probeLocalWorkspace = Effect.gen(function* () {
  const { directory } = (yield* Volume).own;
  const files = yield* FileSystem.FileSystem;
  yield* files
    .makeDirectory(directory, { recursive: true })
    .pipe(Effect.mapError(diskFault(directory, "can't be created")));
  yield* probeWrite(files, directory);
  return { state: "ok", detail: `${directory} is writable` } satisfies Outcome;
});

const probe = probeLocalWorkspace.pipe(
  Effect.catch((fault) =>
    Effect.gen(function* () {
      const { shared } = yield* Volume;
      const place = yield* Effect.orElseSucceed(shared, Option.none);
      if (Option.isNone(place)) return yield* fault;
      return { state: "ok", detail: "the network volume is used" } satisfies Outcome;
    }),
  ),
  withTimeout("disk", "missing"),
);

/** The workspace on the container's disk, which is required only if the network volume can't be used. */
export const localWorkspace = required({
  subject: "Local folder",
  reportedAs: "disk",
  probe,
  showsOk: false,
});
