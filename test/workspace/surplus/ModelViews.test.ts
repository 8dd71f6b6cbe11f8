import { assert, describe, it } from "@effect/vitest";
import { Duration, Effect } from "effect";
import { TestClock } from "effect/testing";

import { viewSurplus } from "../../../src/workspace/surplus/ModelViews.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

const VIEWS = "/volume/.hf-cache/views";

describe("viewSurplus", () => {
  it.effect("returns the views of containers that ended long ago, and no links", () =>
    Effect.gen(function* () {
      const { files } = memoryFileSystem({
        "/precious": null,
        [`${VIEWS}/one/models--a--one`]: { link: "/volume/.hf-cache/hub/models--a--one" },
        [`${VIEWS}/link`]: { link: "/precious" },
      });
      yield* TestClock.adjust(Duration.days(41));
      assert.deepStrictEqual(yield* viewSurplus(files, "/volume", 50), []);
      assert.deepStrictEqual(yield* viewSurplus(files, "/volume", 30), [
        {
          path: `${VIEWS}/one`,
          reason: "links to models of a container that ended 40 days ago",
          locks: [],
        },
      ]);
    }),
  );
});
