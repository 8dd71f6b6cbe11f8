import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { MAX_CHUNK_BYTES } from "../../../src/domain/EncodedResponse.ts";
import { decode } from "../../../src/domain/FunctionRequest.ts";
import { callMetaOf } from "../../../src/runner/call/FunctionCall.ts";

const limit = { bytes: 4_001_024, source: "a test allows" };

describe("callMetaOf", () => {
  it.effect("returns the source of a function and the number of its arguments", () =>
    Effect.gen(function* () {
      const request = yield* decode({
        function_name: "f",
        function_code: "def f(): pass",
        args: ["AAAA", "AAAA"],
        kwargs: { key: "AAAA" },
      });
      assert.deepStrictEqual(callMetaOf(request, limit, false), {
        kind: "function",
        name: "f",
        code: "def f(): pass",
        format: "cloudpickle",
        args: 2,
        kwargs: ["key"],
        constructorArgs: 0,
        constructorKwargs: [],
        method: "",
        instanceId: null,
        createNewInstance: false,
        modules: {},
        // Base64 has a third more, and the document has some bytes of overhead.
        limit: 3_000_000,
      });
    }),
  );

  it.effect("returns the instance of a method and whether to create it again", () =>
    Effect.gen(function* () {
      const request = yield* decode({
        execution_type: "class",
        class_name: "C",
        class_code: "class C: pass",
        method_name: "run",
        constructor_args: ["AAAA"],
        constructor_kwargs: { key: "AAAA" },
        instance_id: "C_1",
        create_new_instance: false,
      });
      assert.deepInclude(callMetaOf(request, limit, false), {
        kind: "class",
        method: "run",
        instanceId: "C_1",
        createNewInstance: false,
        constructorArgs: 1,
        constructorKwargs: ["key"],
      });
    }),
  );

  it.effect("limits the items of a generator if they are streamed", () =>
    Effect.gen(function* () {
      const request = yield* decode({
        function_name: "f",
        function_code: "def f(): yield",
        serialization_format: "json",
      });
      const large = callMetaOf(request, limit, true);
      assert.deepInclude(large, { limit: 4_000_000, chunkLimit: MAX_CHUNK_BYTES - 1024 });
      const small = callMetaOf(request, { ...limit, bytes: 2024 }, true);
      assert.deepInclude(small, { limit: 1000, chunkLimit: 1000 });
    }),
  );
});
