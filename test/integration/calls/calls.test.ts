import { assert, layer } from "@effect/vitest";
import { Effect } from "effect";

import { EncodedResponse } from "../../../src/domain/EncodedResponse.ts";
import { failure, type FunctionResponse } from "../../../src/domain/FunctionResponse.ts";
import { JobListener, listenerOf } from "../../../src/domain/JobEvents.ts";
import { RemoteExecutor } from "../../../src/functions/RemoteExecutor.ts";
import { call, callMethod, realWorker } from "../../support/processes/RealWorker.ts";

const COUNTER = `
class Counter:
    def __init__(self, start=0):
        print("built")
        self.value = start
    def add(self, n=1):
        self.value += n
        return self.value
    async def add_later(self, n):
        import asyncio
        if not hasattr(self, "lock"):
            self.lock = asyncio.Lock()
        async with self.lock:
            await asyncio.sleep(0)
        return self.add(n)
    def values(self):
        yield self.value
        yield self.value + 1
    def fail(self):
        raise KeyError("no key")
    def __call__(self):
        return "called"
`;

layer(realWorker({ WORKER_MAX_INSTANCES: "3" }), { excludeTestServices: true })("a call", (it) => {
  it.effect("of a function passes its arguments and returns its value", () =>
    Effect.gen(function* () {
      const response = yield* call("def f(a, *, b): return {'sum': a + b}", "f", [1], {
        kwargs: { b: 2 },
      });
      assert.deepInclude(response, { success: true, json_result: { sum: 3 }, error: null });
    }),
  );

  it.effect.each([
    ["async def f():\n    return 1", 1],
    ["def f():\n    yield 1\n    yield 2", [1, 2]],
    ["async def f():\n    yield 1\n    yield 2", [1, 2]],
    [
      "import asyncio\ndef f():\n    async def g():\n        return 3\n    return asyncio.run(g())",
      3,
    ],
    ["import asyncio\ndef f():\n    async def g():\n        return 3\n    return g()", 3],
    ["f = lambda: 4", 4],
    ["def outer():\n    return 5\nf = outer", 5],
    ["class f:\n    pass\nf = staticmethod(lambda: 6).__func__", 6],
  ] as const)("of %j returns %j", ([code, expected]) =>
    Effect.gen(function* () {
      const response = yield* call(code, "f");
      assert.deepStrictEqual([response.json_result, response.error], [expected, null]);
    }),
  );

  it.effect("that returns None sends a pickled None", () =>
    Effect.gen(function* () {
      const response = yield* call("def f(): pass", "f", [], {
        serialization_format: "cloudpickle",
      });
      assert.deepInclude(response, { success: true, result: "gAVOLg==", json_result: null });
    }),
  );

  it.effect("of a function starts with fresh global variables", () =>
    Effect.gen(function* () {
      const code = "seen = []\ndef f():\n    seen.append(1)\n    return len(seen)";
      assert.strictEqual((yield* call(code, "f")).json_result, 1);
      assert.strictEqual((yield* call(code, "f")).json_result, 1);
    }),
  );

  it.effect(
    "of a method finds the state of earlier calls, and the response describes the instance",
    () =>
      Effect.gen(function* () {
        const first = yield* callMethod(COUNTER, "Counter", "Counter_1", "add", [5]);
        assert.deepInclude(first, { json_result: 5, instance_id: "Counter_1", stdout: "built\n" });
        const second = yield* callMethod(COUNTER, "Counter", "Counter_1", "add", [2]);
        assert.deepInclude(second, { json_result: 7, stdout: "" });
        assert.deepInclude(second.instance_info, { class_name: "Counter", method_calls: 2 });
        assert.isFalse(Number.isNaN(Date.parse(second.instance_info?.last_used ?? "")));
        assert.strictEqual(first.instance_info?.created_at, second.instance_info?.created_at);
      }),
  );

  it.effect("of an async method runs on the event loop of earlier calls", () =>
    Effect.gen(function* () {
      yield* callMethod(COUNTER, "Counter", "Counter_async", "add_later", [1]);
      const response = yield* callMethod(COUNTER, "Counter", "Counter_async", "add_later", [1]);
      assert.deepStrictEqual([response.json_result, response.error], [2, null]);
    }),
  );

  it.effect("of a method may be a generator, and without a method name is __call__", () =>
    Effect.gen(function* () {
      const values = yield* callMethod(COUNTER, "Counter", "Counter_2", "values");
      assert.deepStrictEqual(values.json_result, [0, 1]);
      const executor = yield* RemoteExecutor;
      const called = yield* executor.execute({
        execution_type: "class",
        class_name: "Counter",
        class_code: COUNTER,
        serialization_format: "json",
      });
      assert.strictEqual(called.json_result, "called");
      assert.match(called.instance_id ?? "", /^Counter_[0-9a-f]{8}$/);
    }),
  );

  it.effect("with create_new_instance creates the instance again", () =>
    Effect.gen(function* () {
      yield* callMethod(COUNTER, "Counter", "Counter_new", "add", [5]);
      const response = yield* callMethod(COUNTER, "Counter", "Counter_new", "add", [1], {
        create_new_instance: true,
      });
      assert.deepInclude(response, { json_result: 1 });
    }),
  );

  it.effect(
    "with other class code or constructor arguments creates the instance again, with a note in stdout",
    () =>
      Effect.gen(function* () {
        yield* callMethod(COUNTER, "Counter", "Counter_code", "add", [5]);
        const other = yield* callMethod(
          `${COUNTER}\nX = 1\n`,
          "Counter",
          "Counter_code",
          "add",
          [1],
        );
        assert.strictEqual(other.json_result, 1);
        assert.include(other.stdout, "[worker-tetra]");
        const arguments_ = yield* callMethod(
          `${COUNTER}\nX = 1\n`,
          "Counter",
          "Counter_code",
          "add",
          [1],
          { constructor_args: [10] },
        );
        assert.strictEqual(arguments_.json_result, 11);
        assert.include(arguments_.stdout, "[worker-tetra]");
      }),
  );

  it.effect(
    "above WORKER_MAX_INSTANCES drops the least recently used instance, and stdout explains its loss",
    () =>
      Effect.gen(function* () {
        for (const id of ["a", "b", "c", "d"]) {
          yield* callMethod(COUNTER, "Counter", `lru_${id}`, "add", [1]);
        }
        const kept = yield* callMethod(COUNTER, "Counter", "lru_d", "add", [1]);
        assert.strictEqual(kept.json_result, 2);
        const dropped = yield* callMethod(COUNTER, "Counter", "lru_a", "add", [1]);
        assert.strictEqual(dropped.json_result, 1);
        assert.include(dropped.stdout, "[worker-tetra]");
      }),
  );

  it.effect("of a failing method keeps the instance, and a failing constructor creates none", () =>
    Effect.gen(function* () {
      yield* callMethod(COUNTER, "Counter", "Counter_fail", "add", [5]);
      const failed = yield* callMethod(COUNTER, "Counter", "Counter_fail", "fail");
      assert.isFalse(failed.success);
      assert.include(failed.error, "KeyError: 'no key'");
      assert.strictEqual(
        (yield* callMethod(COUNTER, "Counter", "Counter_fail", "add", [1])).json_result,
        6,
      );
      const broken =
        "class C:\n    def __init__(self):\n        raise OSError('no weights')\n    def f(self): pass";
      const response = yield* callMethod(broken, "C", "C_1", "f");
      assert.include(response.error, "OSError: no weights");
      assert.isNull(response.instance_id);
    }),
  );

  it.effect(
    "whose constructor runs out of CUDA memory is retried after the other instances are dropped",
    () =>
      Effect.gen(function* () {
        yield* callMethod(COUNTER, "Counter", "Counter_idle", "add", [5]);
        const hungry = `
attempts = []
class Model:
    def __init__(self):
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
    def tries(self):
        return len(attempts)
`;
        const response = yield* callMethod(hungry, "Model", "Model_1", "tries");
        assert.strictEqual(response.json_result, 2);
        assert.include(response.stdout, "CUDA");
        assert.strictEqual(
          (yield* callMethod(COUNTER, "Counter", "Counter_idle", "add", [1])).json_result,
          1,
        );
      }),
  );

  it.effect("can import the modules and packages of its request, and the next call can't", () =>
    Effect.gen(function* () {
      const modules = {
        "settings_of_job.py": "SIZE = 3",
        "package_of_job/__init__.py": "from .inner import twice",
        "package_of_job/inner.py": "def twice(n): return 2 * n",
      };
      const code =
        "def f():\n    import settings_of_job\n    from package_of_job import twice\n    return twice(settings_of_job.SIZE)";
      assert.strictEqual((yield* call(code, "f", [], { modules })).json_result, 6);
      const changed = { ...modules, "settings_of_job.py": "SIZE = 4" };
      assert.strictEqual((yield* call(code, "f", [], { modules: changed })).json_result, 8);
      const without = yield* call(code, "f");
      assert.include(without.error, "ModuleNotFoundError: No module named 'settings_of_job'");
    }),
  );

  it.effect.each([
    "../outside.py",
    "/abs.py",
    "a/../../b.py",
    "a\\b.py",
    "",
    "nul\0.py",
    "a/./b.py",
  ])("with a module named %j is refused before any code runs", (path) =>
    Effect.gen(function* () {
      const response = yield* call("print('ran')\ndef f(): pass", "f", [], {
        modules: { [path]: "X = 1" },
      });
      assert.isFalse(response.success);
      assert.include(response.error, "module");
      assert.notInclude(response.stdout, "ran");
    }),
  );

  it.effect("of a generator streams each value when it is yielded, and returns all of them", () =>
    Effect.gen(function* () {
      const chunks: Array<FunctionResponse> = [];
      const response = yield* call("def f():\n    yield 'a'\n    yield {'b': 1}", "f").pipe(
        Effect.provideService(
          JobListener,
          listenerOf({
            ValueYielded: ({ value }) =>
              chunks.push(
                value instanceof EncodedResponse ? value.toResponse() : failure("too large"),
              ),
          }),
        ),
      );
      assert.deepStrictEqual(
        chunks.map(({ json_result }) => json_result),
        ["a", { b: 1 }],
      );
      assert.isTrue(chunks.every(({ success }) => success));
      assert.deepStrictEqual(response.json_result, ["a", { b: 1 }]);
    }),
  );

  it.effect("finds the files that earlier calls wrote to the working directory", () =>
    Effect.gen(function* () {
      yield* call("def f():\n    open('kept.txt', 'w').write('still here')", "f");
      const response = yield* call("def f(): return open('kept.txt').read()", "f");
      assert.strictEqual(response.json_result, "still here");
    }),
  );
});

layer(realWorker(), { excludeTestServices: true })("an error", (it) => {
  it.effect("has a traceback of the user's lines and none of the runner's", () =>
    Effect.gen(function* () {
      const response = yield* call(
        "def helper(x):\n    return 1 / x  # the culprit\n\ndef f():\n    print('before')\n    return helper(0)",
        "f",
      );
      assert.deepInclude(response, {
        success: false,
        result: null,
        json_result: null,
        stdout: "before\n",
      });
      assert.match(
        response.error ?? "",
        /^ZeroDivisionError: division by zero\n\nTraceback \(most recent call last\):\n  File ".*f\.py", line 6, in f\n    return helper\(0\)\n[^]*line 2, in helper\n    return 1 \/ x  # the culprit\n/,
      );
      assert.notInclude(response.error, "runner");
    }),
  );

  it.effect("includes the causes of the exception", () =>
    Effect.gen(function* () {
      const response = yield* call(
        "def f():\n    try:\n        {}['k']\n    except KeyError as e:\n        raise ValueError('bad') from e",
        "f",
      );
      assert.include(response.error, "KeyError: 'k'");
      assert.include(response.error, "direct cause");
    }),
  );

  it.effect("in async code has a traceback without asyncio's lines", () =>
    Effect.gen(function* () {
      const response = yield* call("async def f():\n    raise ValueError('async')", "f");
      assert.include(response.error, "ValueError: async");
      assert.notInclude(response.error, "asyncio");
    }),
  );

  it.effect.each([
    ["def g(): pass", "f", /f.*g/s],
    ["def f(:", "f", /SyntaxError/],
    ["raise OSError('at import')", "f", /OSError: at import/],
    ["f = 3", "f", /f/],
    ["import sys\ndef f(): sys.exit(3)", "f", /sys\.exit\(3\)/],
    ["def f(): raise KeyboardInterrupt", "f", /KeyboardInterrupt/],
    ["def f(): return f()", "f", /RecursionError/],
    ["def f(): raise MemoryError", "f", /memory/i],
    ["def f(): return object()", "f", /object/],
    ["def f(): return float('nan')", "f", /JSON/],
    ["class E(BaseException): pass\ndef f(): raise E('own')", "f", /E: own/],
    ["class E(Exception):\n    def __str__(self): raise ValueError\ndef f(): raise E", "f", /E/],
    ["def f(a): pass", "f", /TypeError: .*missing 1 required positional argument/],
  ] as const)("in %j has the reason, and the next call succeeds", ([code, name, reason]) =>
    Effect.gen(function* () {
      const response = yield* call(code, name);
      assert.isFalse(response.success);
      assert.isNull(response.result);
      assert.match(response.error ?? "", reason);
      assert.strictEqual((yield* call("def f(): return 'well'", "f")).json_result, "well");
    }),
  );

  it.effect("about an unknown class or method lists those that the source defines", () =>
    Effect.gen(function* () {
      const response = yield* callMethod(COUNTER, "Contour", "x", "add");
      assert.include(response.error, "Contour");
      assert.include(response.error, "Counter");
      const method = yield* callMethod(COUNTER, "Counter", "x", "sum");
      assert.include(method.error, "sum");
      assert.include(method.error, "add_later");
    }),
  );

  it.effect.each([
    [["@@@"], {}, "args[0]"],
    [["gAVLAS4=", 3], {}, "args[1]"],
    [[], { x: "" }, "kwargs.x"],
    [["AAAA"], {}, "args[0]"],
    [[], { x: "gAVjX19tYWluX18KbWlzc2luZwou" }, "kwargs"],
  ] as const)(
    "about invalid pickles in arguments (%j, %j) names the argument",
    ([args, kwargs, name]) =>
      Effect.gen(function* () {
        const response = yield* call("def f(*a, **k): pass", "f", args, {
          kwargs,
          serialization_format: "cloudpickle",
        });
        assert.isFalse(response.success);
        assert.include(response.error, name);
      }),
  );

  it.effect("about a result that can't be pickled names its type", () =>
    Effect.gen(function* () {
      const response = yield* call("import threading\ndef f(): return threading.Lock()", "f", [], {
        serialization_format: "cloudpickle",
      });
      assert.match(response.error ?? "", /lock/);
    }),
  );

  it.effect("about an invalid request names the field, and no code runs", () =>
    Effect.gen(function* () {
      const executor = yield* RemoteExecutor;
      const response = yield* executor.execute({ function_name: "f", execution_type: "notebook" });
      assert.deepInclude(response, { success: false, stdout: null });
      assert.include(response.error, "execution_type");
    }),
  );
});

layer(realWorker({ WORKER_INSTANCE_IDLE: "0.2" }), { excludeTestServices: true })(
  "an idle instance",
  (it) => {
    it.effect(
      "is removed after WORKER_INSTANCE_IDLE, and stdout of the next call explains its loss",
      () =>
        Effect.gen(function* () {
          yield* callMethod(COUNTER, "Counter", "Counter_idle", "add", [5]);
          yield* call("import time\ndef f(): time.sleep(0.5)", "f");
          const response = yield* callMethod(COUNTER, "Counter", "Counter_idle", "add", [1]);
          assert.strictEqual(response.json_result, 1);
          assert.match(
            response.stdout ?? "",
            /\[worker-tetra\] Instance Counter_idle was recreated: it was removed after/,
          );
        }),
    );
  },
);
