import { assert, describe, it } from "@effect/vitest";
import { Config, Effect } from "effect";

import { Environment } from "../../src/settings/Environment.ts";

const KEY = "rpa_0123456789abcdefghij";

describe("Environment", () => {
  it("keeps the worker's own credentials from programs, and leaves them the user's", () => {
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

  it("takes out what npm put in, and only then", () => {
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
  });

  it("masks credentials, also those inside of addresses, and no short words", () => {
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

  it("masks keys of more than eight characters, which people choose for serve", () => {
    for (const name of ["WORKER_SERVE_KEY", "RUNPOD_API_KEY"]) {
      const { mask } = Environment.make({ [name]: "my-key-42" });
      assert.strictEqual(mask("Bearer my-key-42, or my-key-4"), "Bearer ***, or my-key-4");
    }
  });

  it.effect("masks a key that another one has replaced", () =>
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

  it.effect("gives settings the same variables, an empty one counting as unset", () =>
    Effect.gen(function* () {
      const environment = yield* Environment;
      assert.isFalse(environment.has("EMPTY"));
      assert.isTrue(environment.has("FULL"));
      assert.strictEqual(
        yield* Config.String("EMPTY").pipe(Config.withDefault("default")),
        "default",
      );
      assert.strictEqual(yield* Config.String("FULL"), "x");
    }).pipe(Effect.provide(Environment.layerOf({ EMPTY: "", FULL: "x", ABSENT: undefined }))),
  );
});
