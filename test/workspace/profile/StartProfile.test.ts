import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, Layer } from "effect";

import { BackgroundWork } from "../../../src/platform/BackgroundWork.ts";
import { decodeProfile, EMPTY_PROFILE, withUsed } from "../../../src/workspace/profile/Profile.ts";
import { START_PROFILE, StartProfile } from "../../../src/workspace/profile/StartProfile.ts";
import { yieldUntil } from "../../support/effects/Waiting.ts";
import { memoryFileSystem, type MemoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

const FILE = `/workspace/${START_PROFILE}`;

const onWorker = (memory: MemoryFileSystem) =>
  Effect.provide(
    StartProfile.layerNoDeps.pipe(
      Layer.provideMerge(BackgroundWork.layer),
      Layer.provide(Layer.succeed(FileSystem.FileSystem, memory.files)),
    ),
  );

const written = (memory: MemoryFileSystem) => {
  const text = memory.show()[FILE];
  return typeof text === "string" ? decodeProfile(text) : EMPTY_PROFILE;
};

const used = (name: string, at: number) => withUsed(EMPTY_PROFILE, [name], at);

describe("StartProfile", () => {
  it.effect("is empty without a file, and for a link", () =>
    Effect.gen(function* () {
      const memory = memoryFileSystem({
        "/workspace": null,
        "/linked": null,
        "/elsewhere": JSON.stringify(used("torch", 1)),
        [`/linked/${START_PROFILE}`]: { link: "/elsewhere" },
      });
      yield* Effect.gen(function* () {
        const { read } = yield* StartProfile;
        assert.deepStrictEqual(yield* read("/workspace"), EMPTY_PROFILE);
        assert.deepStrictEqual(yield* read("/linked"), EMPTY_PROFILE);
      }).pipe(onWorker(memory));
    }),
  );

  it.effect("is written when no job is running, and combined with what other workers wrote", () =>
    Effect.gen(function* () {
      const memory = memoryFileSystem({ "/workspace": null });
      yield* Effect.gen(function* () {
        const { read, update } = yield* StartProfile;
        const { busy } = yield* BackgroundWork;
        const job = Effect.gen(function* () {
          yield* update("/workspace", () => used("torch", 1));
          for (let turns = 0; turns < 100; turns += 1) yield* Effect.yieldNow;
          assert.deepStrictEqual(written(memory), EMPTY_PROFILE);
          memory.plant({ [FILE]: JSON.stringify(used("pandas", 2)) });
        });
        yield* busy(job);
        yield* yieldUntil(() => written(memory).modules.length === 2);
        const names = (yield* read("/workspace")).modules.map(({ name }) => name);
        assert.deepStrictEqual(names, ["pandas", "torch"]);
      }).pipe(onWorker(memory));
    }),
  );

  it.effect("stays in memory if it can't be written", () =>
    Effect.gen(function* () {
      const { read, update } = yield* StartProfile;
      yield* update("/missing", () => used("torch", 1));
      for (let turns = 0; turns < 100; turns += 1) yield* Effect.yieldNow;
      assert.deepStrictEqual(yield* read("/missing"), used("torch", 1));
    }).pipe(onWorker(memoryFileSystem({}))),
  );
});
