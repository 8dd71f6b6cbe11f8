import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Option, Path } from "effect";

import { DiskUsage } from "../../../src/platform/files/DiskUsage.ts";
import type { Place } from "../../../src/venv/Place.ts";
import { Volume } from "../../../src/workspace/Volume.ts";
import { SurplusFinder } from "../../../src/workspace/surplus/Surplus.ts";
import { UvCache } from "../../../src/workspace/surplus/UvCache.ts";
import { faultyFileSystem } from "../../support/files/FaultyFileSystem.ts";
import { memoryFileLock } from "../../support/files/MemoryFileLock.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

const place: Place = {
  directory: "/own",
  shared: false,
  caches: "/own",
  cachedModels: Option.none(),
};

const FOLDER = "/runpod-volume/runtimes/old";

describe("an unused folder", () => {
  it.effect("is kept on a read-only disk, with an error that says so", () => {
    const memory = memoryFileSystem({ [FOLDER]: null });
    return Effect.gen(function* () {
      const { remove } = yield* SurplusFinder;
      const error = yield* Effect.flip(
        remove({ path: FOLDER, reason: "unused", bytes: Option.none(), locks: [] }),
      );
      assert.strictEqual(
        error.message,
        `${FOLDER} can't be removed: it is mounted read-only (EROFS). Mount it writable.`,
      );
      assert.property(memory.show(), FOLDER);
    }).pipe(
      Effect.provide(
        SurplusFinder.layerNoDeps.pipe(
          Layer.provide([
            faultyFileSystem(memory.files, [{ method: "rename", code: "EROFS" }]).layer,
            memoryFileLock(memory).layer,
            Layer.mock(DiskUsage, {}),
            Layer.mock(Volume, { own: place }),
            Layer.mock(UvCache, { lockOf: (cache) => cache }),
            Path.layer,
          ]),
        ),
      ),
    );
  });
});
