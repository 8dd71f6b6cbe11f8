import { tmpdir } from "node:os";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Config, Effect } from "effect";

import { Environment } from "../../src/settings/Environment.ts";

const KEY = "rpa_0123456789abcdefghij";

describe("Environment", () => {
  it("removes the worker's own credentials for programs, and keeps the user's", () => {
    const { forPrograms } = Environment.make({
      RUNPOD_AI_API_KEY: KEY,
      RUNPOD_WEBHOOK_GET_JOB: "http://take",
      RUNPOD_WEBHOOK_POST_OUTPUT: "http://result",
      RUNPOD_API_KEY: "the user's",
      HTTPS_PROXY: "http://proxy",
      PYTHONDONTWRITEBYTECODE: "1",
      HOME: "/root",
    });
    assert.deepStrictEqual(forPrograms, {
      RUNPOD_API_KEY: "the user's",
      HTTPS_PROXY: "http://proxy",
      HOME: "/root",
    });
  });

  it.each([
    ["a-key-of-16-char", "a-key-of-16-char", false],
    ["a-key-of-16-char", "Bearer a-key-of-16-char", false],
    [" a-key-of-16-char\n", "a-key-of-16-char", false],
    ["a-key-of-16-char", "a-key-of-16", true],
    ["a-key-of-15-cha", "a-key-of-15-cha", false],
    ["a-key-of-15-cha", " a-key-of-15-cha\n", false],
    ["a-key-of-15-cha", "Bearer a-key-of-15-cha", true],
    [" ", " ", true],
    [" ", "text", true],
  ])(
    "removes the key of serve for programs, in all variables: key %j, value %j",
    (key, value, isKept) => {
      const { forPrograms } = Environment.make({ WORKER_SERVE_KEY: key, OTHER: value });
      assert.deepStrictEqual(forPrograms, isKept ? { OTHER: value } : {});
    },
  );

  it.each([
    [{ XDG_CACHE_HOME: "/caches", HOME: "/home/me" }, "/caches/worker-tetra"],
    [{ HOME: "/home/me" }, "/home/me/.cache/worker-tetra"],
    [{}, join(tmpdir(), "worker-tetra-cache")],
  ])("has a folder for what can be made again: with %o it is %s", (variables, folder) => {
    assert.strictEqual(Environment.make(variables).userCache, folder);
  });

  it("removes variables of npm, if npm started the worker", () => {
    const variables = {
      npm_lifecycle_event: "start",
      npm_config_cache: "/c",
      INIT_CWD: "/w",
      NODE: "/usr/bin/node",
      PATH: "/w/node_modules/.bin:/opt/npm/node_modules/@npmcli/run-script/lib/node-gyp-bin:/usr/bin:/bin",
    };
    assert.deepStrictEqual(Environment.make(variables).forPrograms, { PATH: "/usr/bin:/bin" });
    const { npm_lifecycle_event: _, ...direct } = variables;
    assert.deepStrictEqual(Environment.make(direct).forPrograms, direct);
    const { PATH: __, ...withoutPath } = variables;
    assert.deepStrictEqual(Environment.make(withoutPath).forPrograms, {});
  });

  it("masks credentials, also within URLs, and no short words", () => {
    const { mask } = Environment.make({
      RUNPOD_AI_API_KEY: KEY,
      RUNPOD_API_KEY: "short",
      UV_INDEX_URL: "https://user:p%40ssword-of-an-index@index.example/simple",
      UV_INDEX_PRIVATE_PASSWORD: "another-long-password",
    });
    assert.strictEqual(
      mask(`${KEY} short p%40ssword-of-an-index p@ssword-of-an-index another-long-password user`),
      "*** short *** *** *** user",
    );
  });

  it("masks keys of serve with more than eight characters", () => {
    for (const name of ["WORKER_SERVE_KEY", "RUNPOD_API_KEY"]) {
      const { mask } = Environment.make({ [name]: "my-key-42" });
      assert.strictEqual(mask("Bearer my-key-42, or my-key-4"), "Bearer ***, or my-key-4");
    }
  });

  it.effect("masks a key that was overridden", () =>
    Effect.gen(function* () {
      const { mask, maskStream } = yield* Environment;
      let streamed = "";
      const stream = maskStream((bytes) => (streamed += bytes.toString()));
      stream.write(Buffer.from(`${KEY} the-token-of-jobs`));
      stream.end();
      assert.deepStrictEqual([mask(`${KEY} the-token-of-jobs`), streamed], ["*** ***", "*** ***"]);
    }).pipe(
      Effect.provide(
        Environment.make({ RUNPOD_API_KEY: KEY }).amended(
          {},
          { RUNPOD_API_KEY: "the-token-of-jobs" },
        ),
      ),
    ),
  );

  it.effect("provides the same variables to settings, and treats empty ones as unset", () =>
    Effect.gen(function* () {
      const environment = yield* Environment;
      assert.isFalse(environment.has("EMPTY"));
      assert.isTrue(environment.has("FULL"));
      assert.isTrue(environment.isSetTo("FULL", "x"));
      assert.isFalse(environment.isSetTo("FULL", "y"));
      assert.isFalse(environment.isSetTo("EMPTY", "x"));
      assert.deepStrictEqual(environment.forPrograms, { FULL: "x" });
      assert.strictEqual(
        yield* Config.String("EMPTY").pipe(Config.withDefault("default")),
        "default",
      );
      assert.strictEqual(yield* Config.String("FULL"), "x");
    }).pipe(Effect.provide(Environment.layerOf({ EMPTY: "", FULL: "x", ABSENT: undefined }))),
  );
});
