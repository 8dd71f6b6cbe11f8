import { assert, describe, it } from "@effect/vitest";
import { Duration, Effect, FileSystem, Option } from "effect";
import { TestClock } from "effect/testing";

import { compileSurplus } from "../../../src/workspace/surplus/CompileCaches.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

const KEY = "nvidia-l4_driver-550.54.15_x86-64-v3_3.12.1-abc";
const OTHER = "nvidia-l4_driver-570.1_x86-64-v3_3.12.1-abc";

const DAYS_40 = Duration.toMillis(Duration.days(40));

describe("compileSurplus", () => {
  it.effect("returns the folders of keys that no worker has used for some days", () =>
    Effect.gen(function* () {
      const { files } = memoryFileSystem({
        [`/volume/.triton-cache/${KEY}/kernel`]: "x",
        [`/volume/.triton-cache/${OTHER}/kernel`]: "x",
        [`/volume/.vllm-cache/${KEY}/torch_compile_cache`]: null,
      });
      yield* TestClock.adjust(Duration.days(40));
      const recent = FileSystem.make({
        ...files,
        lstat: (path) =>
          Effect.map(files.lstat(path), (info) =>
            path.endsWith(OTHER) ? { ...info, mtime: Option.some(new Date(DAYS_40)) } : info,
          ),
      });
      assert.deepStrictEqual(
        (yield* compileSurplus(recent, "/volume", 30)).map(({ path }) => path),
        [`/volume/.vllm-cache/${KEY}`, `/volume/.triton-cache/${KEY}`],
      );
    }),
  );

  it.effect(
    "leaves the files of libraries and of earlier versions, links, and caches behind links",
    () =>
      Effect.gen(function* () {
        const { files } = memoryFileSystem({
          [`/precious/${KEY}/mine`]: "x",
          "/volume/.inductor-cache": { link: "/precious" },
          [`/volume/.triton-cache/${KEY}`]: { link: "/precious" },
          "/volume/.vllm-cache/torch_compile_cache/one": "x",
        });
        yield* TestClock.adjust(Duration.days(40));
        assert.deepStrictEqual(yield* compileSurplus(files, "/volume", 30), []);
      }),
  );
});
