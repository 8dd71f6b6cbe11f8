import { assert, describe, it } from "@effect/vitest";
import { Effect, Exit, Schema } from "effect";

import * as FunctionRequest from "../../src/domain/FunctionRequest.ts";
import * as FunctionResponse from "../../src/domain/FunctionResponse.ts";

const hello = { function_name: "hello", function_code: "def hello(): ..." };

const many = (count: number, value: unknown = 1) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, value]));

describe("FunctionRequest.decode", () => {
  it.effect("sets every default for a request with only a name and code", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* FunctionRequest.decode(hello), {
        kind: "function",
        name: "hello",
        code: "def hello(): ...",
        args: [],
        kwargs: {},
        dependencies: [],
        systemDependencies: [],
        accelerateDownloads: true,
        format: "cloudpickle",
        modules: {},
      });
    }),
  );

  it.effect("reads every field of a class request", () =>
    Effect.gen(function* () {
      const decoded = yield* FunctionRequest.decode({
        execution_type: "class",
        class_name: "Model",
        class_code: "class Model: ...",
        method_name: "predict",
        args: ["gAVLBS4="],
        kwargs: { k: "gAVLBS4=" },
        constructor_args: ["gAVLAS4="],
        constructor_kwargs: { size: "gAVLAS4=" },
        instance_id: "Model_1a2b3c4d",
        create_new_instance: false,
        dependencies: ["numpy"],
        system_dependencies: ["ffmpeg"],
        accelerate_downloads: false,
        serialization_format: "json",
        modules: { "pkg/a.py": "A = 1" },
      });
      assert.deepInclude(decoded, {
        kind: "class",
        name: "Model",
        code: "class Model: ...",
        method: "predict",
        instanceId: "Model_1a2b3c4d",
        createNewInstance: false,
        accelerateDownloads: false,
        format: "json",
      });
      assert.deepStrictEqual(
        [...decoded.dependencies, ...decoded.systemDependencies],
        ["numpy", "ffmpeg"],
      );
      assert.deepStrictEqual({ ...decoded.modules }, { "pkg/a.py": "A = 1" });
    }),
  );

  it.effect("treats null as absent in every field, and ignores unknown fields", () =>
    Effect.gen(function* () {
      const nulls = Object.fromEntries(
        [
          "args",
          "kwargs",
          "dependencies",
          "system_dependencies",
          "modules",
          "execution_type",
          "class_name",
          "class_code",
          "constructor_args",
          "constructor_kwargs",
          "method_name",
          "instance_id",
          "create_new_instance",
          "accelerate_downloads",
          "serialization_format",
        ].map((field) => [field, null]),
      );
      assert.deepStrictEqual(
        yield* FunctionRequest.decode({
          ...hello,
          ...nulls,
          hf_models_to_cache: ["x"],
          from_the_future: 1,
        }),
        yield* FunctionRequest.decode(hello),
      );
    }),
  );

  it.effect.each([
    ["yes", true],
    ["off", false],
    [1, true],
    [0, false],
    ["0", false],
  ] as const)("reads the flag %s as %s", ([given, expected]) =>
    Effect.gen(function* () {
      const decoded = yield* FunctionRequest.decode({ ...hello, accelerate_downloads: given });
      assert.strictEqual(decoded.accelerateDownloads, expected);
    }),
  );

  it.effect.each([
    [{ ...hello, args: "x" }, '"args": expected array'],
    [{ ...hello, kwargs: [] }, '"kwargs": expected object'],
    [{ ...hello, dependencies: ["a", 4] }, '"dependencies[1]": expected string'],
    [{ ...hello, modules: { "a.py": 3 } }, '"modules.a.py": expected string'],
    [{ ...hello, create_new_instance: "perhaps" }, '"create_new_instance": expected true | false'],
    [{ ...hello, execution_type: "script" }, '"execution_type": expected "function" | "class"'],
    [
      { ...hello, serialization_format: "yaml" },
      '"serialization_format": expected "cloudpickle" | "json"',
    ],
    [{ function_code: "x" }, '"function_name": is required when execution_type is "function"'],
    [{ function_name: "x" }, '"function_code": the source code is required'],
    [
      { execution_type: "class", class_code: "x" },
      '"class_name": is required when execution_type is "class"',
    ],
    [{ execution_type: "class", class_name: "x" }, '"class_code": the source code is required'],
    [7, "Invalid request: expected an object"],
    [null, "Invalid request: expected an object"],
    [[], "Invalid request: expected an object"],
  ] as const)("rejects %j", ([input, reason]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(FunctionRequest.decode(input));
      assert.include(error.message, reason);
    }),
  );

  it.effect("names every invalid field", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(FunctionRequest.decode({ ...hello, args: 1, kwargs: 2 }));
      assert.include(error.message, '"args"');
      assert.include(error.message, '"kwargs"');
    }),
  );

  it.effect.each([
    [{ kwargs: many(50_000) }, '"kwargs": has 50,000 entries; the limit is 4,000'],
    [{ args: Array(4001).fill(1) }, '"args": has 4,001 entries; the limit is 4,000'],
    [{ constructor_args: Array(4001).fill(1) }, '"constructor_args": has 4,001 entries'],
    [{ constructor_kwargs: many(4001) }, '"constructor_kwargs": has 4,001 entries'],
    [{ modules: many(2001, "") }, '"modules": has 2,001 entries; the limit is 2,000'],
    [{ dependencies: Array(1001).fill(1) }, '"dependencies": has 1,001 entries'],
    [{ system_dependencies: Array(1001).fill(1) }, '"system_dependencies": has 1,001 entries'],
    [{ function_name: "f".repeat(257) }, '"function_name": has 257 characters'],
    [{ class_name: "f".repeat(257) }, '"class_name": has 257 characters'],
    [{ method_name: "f".repeat(257) }, '"method_name": has 257 characters'],
    [{ instance_id: "f".repeat(300) }, '"instance_id": has 300 characters; the limit is 256'],
    [{ kwargs: { ["k".repeat(257)]: 1 } }, '"kwargs.kkkkkkkkkkkkkkkkkkkk…": has 257 characters'],
    [{ modules: { ["m".repeat(4097)]: "" } }, "has 4,097 characters; the limit is 4,096"],
  ] as const)(
    "rejects too many entries and too long names, with the limit: %#",
    ([fields, reason]) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(FunctionRequest.decode({ ...hello, ...fields }));
        assert.include(error.message, reason);
        assert.isBelow(error.message.length, 300);
      }),
  );

  it.effect("accepts names and numbers of entries up to the limits", () =>
    Effect.gen(function* () {
      const decoded = yield* FunctionRequest.decode({
        execution_type: "class",
        class_name: "C".repeat(256),
        class_code: "",
        method_name: "m".repeat(256),
        instance_id: "i".repeat(256),
        args: Array(4000).fill(1),
        kwargs: many(4000),
        constructor_args: Array(4000).fill(1),
        constructor_kwargs: many(4000),
        modules: many(2000, ""),
        dependencies: Array(1000).fill("numpy"),
        system_dependencies: Array(1000).fill("git"),
      });
      assert.lengthOf(decoded.args, 4000);
      assert.lengthOf(Object.keys(decoded.modules), 2000);
    }),
  );

  it.effect("never reads unknown or inherited fields", () =>
    Effect.gen(function* () {
      const unread = new Proxy(
        { ...hello, ...many(10) },
        {
          get: (target, key) => {
            assert.notMatch(String(key), /^k\d/);
            const value: unknown = Reflect.get(target, key);
            return value;
          },
        },
      );
      assert.strictEqual((yield* FunctionRequest.decode(unread)).name, "hello");
      const inherited: unknown = Object.create(hello);
      assert.include(
        (yield* Effect.flip(FunctionRequest.decode(inherited))).message,
        "function_name",
      );
    }),
  );

  it.effect("names ten of many invalid fields and counts the others", () =>
    Effect.gen(function* () {
      const request = { ...hello, dependencies: Array(1000).fill(1) };
      const { message } = yield* Effect.flip(FunctionRequest.decode(request));
      assert.include(message, '"dependencies[9]": expected string; and 990 more');
      assert.notInclude(message, "dependencies[10]");
    }),
  );

  it.effect.prop("never dies for any JSON value", [Schema.Json], ([json]) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(FunctionRequest.decode(json));
      assert.isFalse(Exit.hasDies(exit));
    }),
  );
});

describe("FunctionResponse", () => {
  it("always has every key that clients require", () => {
    const keys = [
      "success",
      "result",
      "json_result",
      "error",
      "stdout",
      "instance_id",
      "instance_info",
    ];
    assert.sameMembers(Object.keys(FunctionResponse.success({ result: "gAVOLg==" })), keys);
    assert.sameMembers(Object.keys(FunctionResponse.failure("why")), keys);
    assert.strictEqual(FunctionResponse.failure("why").error, "why");
  });
});
