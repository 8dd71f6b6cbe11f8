import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer } from "effect";

import { Environment } from "../../../src/settings/Environment.ts";
import { indexKey } from "../../../src/venv/uv/IndexKey.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

const keyWith = (variables: Readonly<Record<string, string>>, configuration?: string) =>
  Effect.flatten(indexKey).pipe(
    Effect.provide(
      Layer.mergeAll(
        Environment.layerOf(variables),
        memoryFileSystem(configuration === undefined ? {} : { "/etc/uv/uv.toml": configuration })
          .layer,
      ),
    ),
  );

describe("indexKey", () => {
  it.effect(
    "differs for another index, another way to build packages and another configuration",
    () =>
      Effect.gen(function* () {
        const keys = [
          yield* keyWith({}),
          yield* keyWith({ UV_INDEX_URL: "https://one.example/simple" }),
          yield* keyWith({ UV_INDEX_URL: "https://other.example/simple" }),
          yield* keyWith({ UV_NO_BINARY: "1" }),
          yield* keyWith({}, `index-url = "https://one.example/simple"`),
        ];
        assert.strictEqual(new Set(keys).size, keys.length);
      }),
  );

  it.effect("does not depend on credentials, caches or time limits", () =>
    Effect.gen(function* () {
      const index = "one.example/simple";
      const keys = [
        yield* keyWith({ UV_INDEX_URL: `https://me:secret@${index}` }),
        yield* keyWith({ UV_INDEX_URL: `https://me:other@${index}`, UV_CACHE_DIR: "/cache" }),
        yield* keyWith({
          UV_INDEX_URL: `https://you:other@${index}`,
          UV_HTTP_TIMEOUT: "9",
          UV_INDEX_MINE_PASSWORD: "secret",
        }),
      ];
      assert.strictEqual(new Set(keys).size, 1);
    }),
  );
});
