import { Effect, Option, Ref } from "effect";

import { isFullDisk } from "../../platform/files/DiskFault.ts";
import type { Place } from "../../venv/Place.ts";
import { usageOf } from "../Usage.ts";
import { Volume } from "../Volume.ts";

/** Warnings about a network volume that can't be used, or only without changes. */
export const volumeWarnings = Effect.gen(function* () {
  const volume = yield* Volume;
  const usage = yield* usageOf;
  const layerScope = yield* Effect.scope;
  /** Why the network volume is not used, if it exists. */
  const fault = yield* Ref.make<string | null>(null);

  /** Logs what uses the space, in the background, because measuring a network volume takes seconds. */
  const logUsage = (places: ReadonlyArray<Place>) =>
    Effect.forkIn(
      Effect.flatMap(usage(places), (report) => Effect.logInfo(`Disk usage:\n${report}`)),
      layerScope,
    );

  return {
    fault: Ref.get(fault),

    /** Warns that the container's disk is used instead. */
    fallingBack: Effect.fnUntraced(function* (
      error: { readonly message: string },
      shared: ReadonlyArray<Place> = [],
    ) {
      yield* Ref.set(fault, error.message);
      yield* Effect.logWarning(
        `${error.message}\nFalling back to ${volume.own.directory} on the container's disk.`,
      );
      if (isFullDisk(error)) yield* logUsage([...shared, volume.own]);
      return Option.none<never>();
    }),

    /** Warns that a virtual environment is on a full volume. */
    usedWhileFull: Effect.fnUntraced(function* (prefix: string, place: Place) {
      yield* Effect.logWarning(
        `The network volume is full: ${prefix} is used without changes, and missing packages are installed on the container's disk. Free some space or enlarge the volume.`,
      );
      yield* logUsage([place]);
    }),
  };
});
