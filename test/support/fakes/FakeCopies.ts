import { Effect, Layer } from "effect";

import { LocalInstalls } from "../../../src/dependencies/pip/LocalInstalls.ts";
import { LocalCopies } from "../../../src/workspace/copies/LocalCopies.ts";
import { Packing } from "../../../src/workspace/copies/Packing.ts";

/** Virtual environments are neither packed nor copied. */
export const noCopies = Layer.mergeAll(
  Layer.succeed(
    LocalCopies,
    LocalCopies.of({
      copyOf: () => Effect.succeedNone,
      sourceOf: () => Effect.succeedNone,
      originalOf: Effect.succeed,
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
