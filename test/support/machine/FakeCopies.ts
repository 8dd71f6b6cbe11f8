import { Effect, Layer } from "effect";

import { LocalInstalls } from "../../../src/dependencies/pip/LocalInstalls.ts";
import { BackgroundWork } from "../../../src/platform/BackgroundWork.ts";
import { DiskUsage } from "../../../src/platform/files/DiskUsage.ts";
import { LocalCopies } from "../../../src/workspace/copies/LocalCopies.ts";
import { PackageArchives } from "../../../src/workspace/copies/PackageArchives.ts";
import { Packing } from "../../../src/workspace/copies/Packing.ts";
import { StartProfile } from "../../../src/workspace/profile/StartProfile.ts";

const archives = Layer.merge(PackageArchives.layerNoDeps, StartProfile.layerNoDeps).pipe(
  Layer.provideMerge(BackgroundWork.layer),
);

/** Virtual environments are neither packed nor copied. */
export const noCopies = Layer.mergeAll(
  archives,
  Layer.succeed(
    LocalCopies,
    LocalCopies.of({
      copyOf: () => Effect.succeedNone,
      sourceOf: () => Effect.succeedNone,
      originalOf: Effect.succeed,
      complete: () => Effect.void,
      isOutdated: () => Effect.succeed(false),
      discard: () => Effect.void,
    }),
  ),
  Layer.succeed(Packing, Packing.of({ update: () => Effect.void })),
);

/** Jobs run in the virtual environment on the volume, so nothing is installed into a copy. */
export const noLocalInstalls = Layer.succeed(
  LocalInstalls,
  LocalInstalls.of({ ensure: () => Effect.succeedNone }),
);

/** Virtual environments are packed and copied as in production. */
export const copies = Layer.mergeAll(LocalCopies.layerNoDeps, Packing.layerNoDeps).pipe(
  Layer.provideMerge(archives),
);

/** A disk with so much free space, in bytes. */
export const diskWith = (free: number) =>
  Layer.succeed(
    DiskUsage,
    DiskUsage.of({
      space: () => Effect.succeedSome({ free, total: 1e12 }),
      size: () => Effect.succeedNone,
      report: () => Effect.succeed(""),
    }),
  );
