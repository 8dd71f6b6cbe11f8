import { assert, describe, it } from "@effect/vitest";
import { Effect, Option } from "effect";

import { readPreload } from "../../../src/runner/preload/PreloadRequest.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";
import { methodInput } from "../../support/values/JobInputs.ts";

/** What WORKER_PRELOAD means with this content of the file `/load.json`. */
const preloadOf = (setting: string, content = "") => {
  const { files } = memoryFileSystem({ "/load.json": content, "/folder": null });
  return readPreload(files).pipe(Effect.provide(Environment.layerOf({ WORKER_PRELOAD: setting })));
};

const REQUEST = methodInput("class C: pass", "C", "model", "load", [1.5]);

describe("WORKER_PRELOAD", () => {
  it.effect("is optional", () =>
    Effect.gen(function* () {
      assert.isTrue(Option.isNone(yield* preloadOf("")));
    }),
  );

  it.effect.each([
    ["under `input`", JSON.stringify({ input: REQUEST })],
    ["itself", JSON.stringify(REQUEST)],
  ])("can be a file with a request %s", ([, content]) =>
    Effect.gen(function* () {
      const { name, request, blobs } = Option.getOrThrow(yield* preloadOf("/load.json", content));
      assert.deepInclude(request, { kind: "class", name: "C", instanceId: "model" });
      assert.deepStrictEqual(
        [name, ...blobs.map((blob) => Buffer.from(blob).toString())],
        ["/load.json", "1.5"],
      );
    }),
  );

  it.effect("can be a function of a module", () =>
    Effect.gen(function* () {
      const { name, request } = Option.getOrThrow(yield* preloadOf("my_app.models:load_all"));
      assert.strictEqual(name, "my_app.models:load_all");
      assert.include(request.code, "from my_app.models import load_all as function");
    }),
  );

  it.effect.each<readonly [string, string, string]>([
    ["/missing.json", "", "The file does not exist"],
    ["/folder", "", "The file can't be read"],
    ["/load.json", "{", "The file is not valid JSON"],
    ["/load.json", "[]", "expected an object with function_name"],
    ["/load.json", "{}", "function_name"],
    [
      "/load.json",
      '{"input": {"function_name": "f", "function_code": "x", "args": ["?"]}}',
      "base64",
    ],
    ["module:not a name", "", "The file does not exist"],
    [":f", "", "The file does not exist"],
  ])("is refused if it is invalid: %s %s", ([setting, content, reason]) =>
    Effect.gen(function* () {
      const { message } = yield* Effect.flip(preloadOf(setting, content));
      assert.include(
        message,
        `WORKER_PRELOAD is ${JSON.stringify(setting)}: expected the path of a`,
      );
      assert.include(message, reason);
    }),
  );
});
