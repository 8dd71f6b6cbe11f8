import { Context, Effect, FileSystem, Layer, Option } from "effect";

import { diskFault } from "../../platform/files/DiskFault.ts";
import { probeWrite } from "../../platform/files/Writability.ts";
import type { Place } from "../../venv/Place.ts";
import { Volume, type VolumeNotWritable } from "../../workspace/Volume.ts";
import { check, inTime, type Outcome, required } from "../Check.ts";

/** The place of the workspace: on the network volume, or on the container's disk if there is no usable volume. */
export class CurrentPlace extends Context.Service<
  CurrentPlace,
  {
    readonly place: Place;
    /** Why the volume is not used. */
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
        advice: `Until it can be written, workers use ${place.directory} on their own disk.`,
      };
    }
    if (place.shared) {
      return { state: "ok", detail: `${place.caches} (workspace ${place.directory})` };
    }
    return {
      state: "ok",
      detail: `none, so the workspace is ${place.directory}`,
      advice:
        "On RunPod attach a network volume to the endpoint: then environments and models outlive a container.",
    };
  }),
);

const canWriteOwnDisk = Effect.gen(function* () {
  const { directory } = (yield* Volume).own;
  const files = yield* FileSystem.FileSystem;
  yield* files
    .makeDirectory(directory, { recursive: true })
    .pipe(Effect.mapError(diskFault(directory, "can't be made")));
  yield* probeWrite(files, directory);
  return { state: "ok", detail: `${directory} can be written` } satisfies Outcome;
});

const findOwnDisk = canWriteOwnDisk.pipe(
  Effect.catch((fault) =>
    Effect.gen(function* () {
      const { shared } = yield* Volume;
      const place = yield* Effect.orElseSucceed(shared, Option.none);
      if (Option.isNone(place)) return yield* fault;
      return { state: "ok", detail: "the network volume is used" } satisfies Outcome;
    }),
  ),
  inTime("disk", "missing"),
);

/** The container's disk is needed only where the network volume can't be used. */
export const ownDisk = required({
  subject: "Own disk",
  refusal: "disk",
  look: findOwnDisk,
  showsOk: false,
});
