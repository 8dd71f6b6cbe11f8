import { assert, layer } from "@effect/vitest";
import { Effect } from "effect";

import { job, openApp, realApps } from "../../support/processes/RealApp.ts";

const COUNTER = `
import os, sys
print("imported")
calls = 0
def f(**arguments):
    global calls
    calls += 1
    print("call", calls)
    return [calls, arguments, os.getcwd(), os.getpid()]
`;

const decode = (text: string | undefined): unknown => JSON.parse(text ?? "");

layer(realApps(), { excludeTestServices: true })("jobs of an app, one at a time", (it) => {
  it.effect("call the imported function in the folder of the app", () =>
    Effect.gen(function* () {
      const { folder, opened } = yield* openApp({ "main.py": COUNTER });
      assert.deepStrictEqual(opened, {
        overlaps: false,
        isSingleton: false,
        systemDependencies: [],
      });
      const first = yield* job({ a: 1 });
      const second = yield* job(null);
      const [, , , pid] = Object.values(decode(first.value) ?? {});
      assert.deepStrictEqual(decode(first.value), [1, { a: 1 }, folder, pid]);
      assert.deepStrictEqual(decode(second.value), [2, {}, folder, pid]);
      assert.deepStrictEqual([first.output, second.output], ["call 1\n", "call 2\n"]);
    }),
  );

  it.effect("find the modules of the app before those of Python, also in child processes", () =>
    Effect.gen(function* () {
      const code = `
import colorsys, subprocess, sys
def f():
    child = subprocess.run([sys.executable, "-c", "import colorsys; print(colorsys.MINE)"], capture_output=True)
    return [colorsys.MINE, child.stdout.decode()]
`;
      yield* openApp({ "main.py": code, "colorsys.py": "MINE = 'mine'" });
      assert.deepStrictEqual(decode((yield* job({})).value), ["mine", "mine\n"]);
    }),
  );

  it.effect("return the items of generators while they run", () =>
    Effect.gen(function* () {
      yield* openApp({ "main.py": "def f(n):\n    for i in range(n):\n        yield {'i': i}" });
      const chunks: Array<string | undefined> = [];
      const { value } = yield* job({ n: 2 }, { chunks });
      assert.deepStrictEqual(chunks.map(decode), [{ i: 0 }, { i: 1 }]);
      assert.deepStrictEqual(decode(value), [{ i: 0 }, { i: 1 }]);
    }),
  );

  it.effect("return failures and requests to refresh the worker beside their values", () =>
    Effect.gen(function* () {
      yield* openApp({
        "main.py":
          "def f(error=None, n=0):\n    return {'a': 1, 'error': error or list(range(n)), 'refresh_worker': True}",
      });
      const failed = yield* job({ error: { code: [3] } });
      assert.deepInclude(failed.result, { failure: { code: [3] }, refresh: true });
      assert.strictEqual(failed.value, '{"a": 1}');
      const large = yield* job({ n: 100_000 });
      assert.match(String(large.result.failure), /^\[0, 1, [^]*bytes left out[^]*99999\]$/);
      const nested = yield* job({ error: decode("[".repeat(95) + "]".repeat(95)) });
      assert.strictEqual(nested.result.failure, "[".repeat(95) + "]".repeat(95));
    }),
  );

  it.effect("report exceptions with exactly their text", () =>
    Effect.gen(function* () {
      yield* openApp({
        "main.py": "def f():\n    print('before')\n    raise ValueError('no\\nway')",
      });
      const { result, value, output } = yield* job({});
      assert.deepInclude(result.error, {
        kind: "exception",
        type: "ValueError",
        message: "no\nway",
      });
      assert.include(result.error?.traceback ?? "", 'main.py", line 3, in f');
      assert.deepStrictEqual([value, output], [undefined, "before\n"]);
    }),
  );

  it.effect("are distributed to as many processes as may run at the same time", () =>
    Effect.gen(function* () {
      const code = `
import os, time
def f(name, others):
    open(name, "w").close()
    while not all(os.path.exists(other) for other in others):
        time.sleep(0.01)
    return os.getpid()
`;
      yield* openApp({ "main.py": code }, { concurrency: 2 });
      const alone = yield* job({ name: "first", others: [] });
      const together = yield* Effect.all(
        [job({ name: "a", others: ["b"] }), job({ name: "b", others: ["a"] })],
        { concurrency: "unbounded" },
      );
      const pids = new Set(together.map(({ value }) => value));
      assert.strictEqual(pids.size, 2);
      assert.isTrue(pids.has(alone.value));
    }),
  );
});

layer(realApps({ WORKER_CANCEL_GRACE: "0.5" }), { excludeTestServices: true })(
  "the process of an app",
  (it) => {
    it.effect("is replaced and opens the app again after a crash", () =>
      Effect.gen(function* () {
        const code = `
import os
def f(crash):
    print("before", end="")
    if crash: os._exit(7)
    return os.getpid()
`;
        yield* openApp({ "main.py": code });
        const { value: before } = yield* job({ crash: false });
        const failure = yield* Effect.flip(job({ crash: true }));
        assert.deepInclude(failure, { _tag: "RunnerCrashed", exitCode: 7, output: "before" });
        const { value: after } = yield* job({ crash: false });
        assert.notStrictEqual(after, before);
      }),
    );

    it.effect("reports what can't be imported or constructed", () =>
      Effect.gen(function* () {
        const missing = yield* Effect.flip(
          openApp({ "main.py": "import nonexistent_package.sub" }),
        );
        assert.deepInclude(missing, {
          _tag: "AppOpenFailed",
          phase: "import",
          type: "ModuleNotFoundError",
          missingModule: "nonexistent_package",
        });
        const broken = yield* Effect.flip(
          openApp(
            {
              "main.py":
                "class f:\n    def __init__(self):\n        raise RuntimeError('no GPU')\n    def run(self): pass",
            },
            {},
          ),
        );
        assert.deepInclude(broken, {
          _tag: "AppOpenFailed",
          phase: "construct",
          type: "RuntimeError",
          message: "no GPU",
          missingModule: undefined,
        });
      }),
    );

    it.effect("that can't open the app again fails the next job with the reason", () =>
      Effect.gen(function* () {
        const code = `
import os
if os.path.exists("opened"): raise RuntimeError("only once")
open("opened", "w").close()
def f(): os._exit(1)
`;
        yield* openApp({ "main.py": code });
        yield* Effect.flip(job({}));
        assert.deepInclude(yield* Effect.flip(job({})), {
          _tag: "AppOpenFailed",
          message: "only once",
        });
      }),
    );
  },
);
