import { assert, describe, it } from "@effect/vitest";
import { Duration, Effect, type FileSystem } from "effect";
import { TestClock } from "effect/testing";

import { endpointSurplus } from "../../../src/workspace/surplus/EndpointSurplus.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

const RUNTIMES = "/volume/runtimes";
const VENVS = `${RUNTIMES}/one/.venvs`;

/** The result 40 days after all files were written. */
const surplusAfter = Effect.fnUntraced(function* (files: FileSystem.FileSystem, days: number) {
  yield* TestClock.adjust(Duration.days(40));
  return yield* endpointSurplus(files, RUNTIMES, days);
});

describe("endpointSurplus", () => {
  it.effect("returns the whole folder of an unused endpoint, with the locks of its workers", () =>
    Effect.gen(function* () {
      const { files } = memoryFileSystem({
        [`${VENVS}/3.12.1-abc-1`]: null,
        [`${VENVS}/3.12.1-abc-1.lock`]: "",
        [`${RUNTIMES}/one/.initialization.lock`]: "",
      });
      const { found } = yield* surplusAfter(files, 30);
      assert.lengthOf(found, 1);
      assert.deepInclude(found[0], {
        path: `${RUNTIMES}/one`,
        locks: [`${RUNTIMES}/one/.initialization.lock`, `${VENVS}/3.12.1-abc-1.lock`],
      });
    }),
  );

  it.effect("returns only the unfinished builds of an endpoint that is in use", () =>
    Effect.gen(function* () {
      const { files } = memoryFileSystem({
        [`${RUNTIMES}/one/.venv`]: { link: ".venvs/3.12.1-abc-2" },
        [`${VENVS}/3.12.1-abc-1`]: null,
        [`${VENVS}/3.12.1-abc-2`]: null,
        [`${VENVS}/.building-x`]: null,
        [`${VENVS}/of-the-user`]: null,
      });
      const { found } = yield* surplusAfter(files, 60);
      assert.deepStrictEqual(found, [
        {
          path: `${VENVS}/.building-x`,
          reason: "is an unfinished build or removal",
          locks: [`${RUNTIMES}/one/.initialization.lock`],
        },
      ]);
    }),
  );

  it.effect("skips links, and returns unfinished removals", () =>
    Effect.gen(function* () {
      const { files } = memoryFileSystem({
        "/precious": null,
        [`${RUNTIMES}/two`]: { link: "/precious" },
        [`${RUNTIMES}/.removing-x`]: null,
      });
      assert.deepStrictEqual(yield* surplusAfter(files, 30), {
        found: [{ path: `${RUNTIMES}/.removing-x`, reason: "is an unfinished removal", locks: [] }],
        skipped: [`${RUNTIMES}/two is not a folder (links are not followed)`],
      });
    }),
  );
});
