import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";

import { assert, layer } from "@effect/vitest";
import { Effect } from "effect";

import { EncodedResponse } from "../../src/domain/EncodedResponse.ts";
import { JobListener, listenerOf } from "../../src/domain/JobEvents.ts";
import { RemoteExecutor } from "../../src/functions/RemoteExecutor.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";
import { call, callMethod, realWorker } from "../support/processes/RealWorker.ts";
import { functionInput } from "../support/values/JobInputs.ts";

const JSON_FORMAT = { serialization_format: "json" } as const;

/** The encoded response to a request. */
const responseTo = Effect.fnUntraced(function* (
  code: string,
  more: Readonly<Record<string, unknown>> = {},
) {
  const executor = yield* RemoteExecutor;
  const request = functionInput(code, [], { serialization_format: "cloudpickle", ...more });
  const body = (yield* executor.executeEncoded(request)).toJson();
  return { size: body.byteLength, json: JSON.parse(Buffer.from(body).toString()) };
});

const pid = Effect.map(call("import os\ndef f(): return os.getpid()", "f"), (response) =>
  Number(response.json_result),
);

const COUNTER =
  "class C:\n    n = 0\n    def add(self):\n        self.n += 1\n        return self.n";

const count = Effect.map(callMethod(COUNTER, "C", "C_limits", "add"), (response) =>
  Number(response.json_result),
);

/** Checks that the process and its instances survive an effect. */
const inOneProcess = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
  const before = { pid: yield* pid, count: yield* count };
  yield* effect;
  const after = { pid: yield* pid, count: yield* count };
  assert.deepStrictEqual(after, { pid: before.pid, count: before.count + 1 });
});

const nextJobSucceeds = Effect.gen(function* () {
  const response = yield* call("def f():\n    print('printed')\n    return 'well'", "f");
  assert.deepStrictEqual([response.json_result, response.error], ["well", null]);
  assert.include(response.stdout, "printed\n");
});

/** The maximum time that the event loop was blocked, in milliseconds. */
const longestGap = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
  const histogram = monitorEventLoopDelay({ resolution: 5 });
  histogram.enable();
  yield* effect;
  histogram.disable();
  return histogram.max / 1e6;
});

layer(realWorker(), { excludeTestServices: true })("a result above the default limit", (it) => {
  it.effect("fails with its size and advice, and keeps the process", () =>
    inOneProcess(
      Effect.gen(function* () {
        // Zeros take no memory until they are read.
        const { json } = yield* responseTo("def f(): return bytes(384 * 2**20)");
        assert.isFalse(json.success);
        assert.include(json.error, "384.0 MiB");
        assert.match(json.error, /WORKER_RESULT_LIMIT .* 20 MiB/);
      }),
    ),
  );
});

/** A tenth of the default, so that values above it are small. */
const RESULT_LIMIT = 2 * 1024 * 1024;

layer(realWorker({ WORKER_RESULT_LIMIT: String(RESULT_LIMIT) }), { excludeTestServices: true })(
  "a result above WORKER_RESULT_LIMIT",
  (it) => {
    it.effect.each([
      ["38 MiB of bytes", "def f(): return bytes(38 * 2**20)", {}, "38.0 MiB"],
      ["a list of texts", "def f(): return ['x' * 10**6] + ['y' * 10**6]", {}, "1.9 MiB"],
      ["a dict of bytes", "def f(): return {n: bytes(10**6) for n in 'ab'}", {}, "1.9 MiB"],
      [
        "a numpy array, without pickling it",
        "class ndarray:\n    nbytes = 38 * 2**20\n    class dtype: hasobject = False\n    def __reduce__(self): return bytes, ()\nndarray.__module__ = 'numpy'\ndef f(): return ndarray()",
        {},
        "38.0 MiB",
      ],
      [
        "an object of unknown size",
        "class A:\n    def __init__(self): self.a = [bytearray(2**20) for _ in range(4)]\ndef f(): return A()",
        {},
        "more than",
      ],
      ["many small values", "def f(): return list(range(10**6))", {}, "more than"],
      ["a yielded value", "def f():\n    yield 1\n    yield bytes(38 * 2**20)", {}, "38.0 MiB"],
      [
        "yielded values, before the last one",
        "def f():\n    for n in range(10**9): yield b'%08d' % n * 2**14",
        {},
        "MiB",
      ],
      [
        "yielded tuples, before the last one",
        "def f():\n    for n in range(1000): yield n, b'%08d' % n * 2**14\n    raise ValueError('the end')",
        {},
        "MiB",
      ],
      [
        "values of an async generator",
        "async def f():\n    for n in range(10**9): yield b'%08d' % n * 2**14",
        {},
        "MiB",
      ],
      ["a text as JSON", "def f(): return 'x' * 5 * 2**19", JSON_FORMAT, "2.5 MiB"],
      ["a text that JSON escapes", "def f(): return '\\x01' * 2**19", JSON_FORMAT, "3.0 MiB"],
      ["many texts as JSON", "def f(): return ['x' * 100] * 30000", JSON_FORMAT, "MiB"],
    ] as const)(
      "fails with its size and advice, and keeps the process: %s",
      ([, code, more, size]) =>
        inOneProcess(
          Effect.gen(function* () {
            const { json } = yield* responseTo(code, more);
            assert.isFalse(json.success);
            assert.include(json.error, size);
            assert.match(json.error, /WORKER_RESULT_LIMIT .* 2 MiB/);
            assert.include(json.error, "return its path");
          }),
        ),
    );

    it.effect("counts an object only once if it is returned several times, like pickle", () =>
      Effect.gen(function* () {
        const { json } = yield* responseTo(
          "def f():\n    value = bytes(10**6)\n    for _ in range(10): yield value",
        );
        assert.isNull(json.error);
      }),
    );

    it.effect("is not pickled beyond the limit", () =>
      Effect.gen(function* () {
        const { json } = yield* responseTo(`
class A:
    def __init__(self, n): self.n = n
    def __reduce__(self):
        print("pickled")
        return bytes, (b"%08d" % self.n * 2**14,)
def f(): return [A(n) for n in range(400)]
`);
        assert.include(json.error, "WORKER_RESULT_LIMIT");
        assert.isBelow(json.stdout.split("\n").length, 30);
      }),
    );

    it.effect("streams the values that are small enough, and fails at the end", () =>
      Effect.gen(function* () {
        const chunks: Array<unknown> = [];
        const { json } = yield* responseTo(
          "def f():\n    yield 'a'\n    yield 'b' * 2_000_000\n    yield 'c'\n    yield 'd' * 3_000_000",
          JSON_FORMAT,
        ).pipe(
          Effect.provideService(
            JobListener,
            listenerOf({
              ValueYielded: ({ value }) =>
                chunks.push(
                  value instanceof EncodedResponse ? value.toResponse().json_result : undefined,
                ),
            }),
          ),
        );
        assert.include(json.error, "WORKER_RESULT_LIMIT");
        assert.deepStrictEqual(chunks, ["a", undefined, "c"]);
      }),
    );
  },
);

/** Names of local modules that hide standard modules, with one note each. */
const STANDARD_MODULES =
  "bdb binhex calendar chunk cmd code colorsys csv decimal difflib doctest ftplib graphlib imaplib mailbox mimetypes nntplib optparse pdb pickletools poplib pprint sched shelve".split(
    " ",
  );

/** The peak memory of the Python process in bytes. */
const pythonPeak = Effect.map(
  call(
    "import resource\ndef f(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024",
    "f",
  ),
  (response) => Number(response.json_result),
);

layer(realWorker({ WORKER_RESULT_LIMIT: "100000", WORKER_OUTPUT_LIMIT: "400000" }), {
  excludeTestServices: true,
})("WORKER_RESULT_LIMIT", (it) => {
  // These tests run first, since the peak of a process never decreases. Zeros take no memory until they are read.
  it.effect.each([
    ["bytes, which take no memory", "bytes(2**27)", {}, 2 ** 26],
    ["a list of bytes", "[bytes(2**27)]", {}, 2 ** 26],
    ["a text as JSON, which is not copied", "'x' * 2**26", JSON_FORMAT, 2 ** 26 * 1.5],
  ] as const)("rejects a value by its size before it is encoded: %s", ([, value, more, most]) =>
    Effect.gen(function* () {
      const before = yield* pythonPeak;
      const { json } = yield* responseTo(`def f(): return ${value}`, more);
      assert.include(json.error, "WORKER_RESULT_LIMIT");
      assert.isBelow((yield* pythonPeak) - before, most);
    }),
  );

  it.effect("includes the encoded output of the code", () =>
    Effect.gen(function* () {
      const { size, json } = yield* responseTo(
        "def f():\n    print('\\x01' * 20000)\n    return 'small'",
      );
      assert.isFalse(json.success);
      assert.match(json.error, /including 11\d(\.\d)? KiB of output; .*97\.7 KiB/);
      assert.isAtMost(size, 100_000);
      assert.isAbove(json.stdout.length, 1000);
    }),
  );

  it.effect("keeps the error of a failed job and the end of its output", () =>
    Effect.gen(function* () {
      const { size, json } = yield* responseTo(
        "def f():\n    print('x' * 300000)\n    print('the end')\n    raise ValueError('no way')",
      );
      assert.match(json.error, /^ValueError: no way\n\nTraceback/);
      assert.match(json.stdout, /x\nthe end\n$/);
      assert.isAtMost(size, 100_000);
    }),
  );

  it.effect("keeps the beginning of a long error", () =>
    Effect.gen(function* () {
      const { size, json } = yield* responseTo(
        "def f():\n    raise ValueError('no way' + '\\x01' * 10**6)",
      );
      assert.match(json.error, /^ValueError: no way/);
      assert.isAtMost(size, 100_000);
    }),
  );

  it.effect.each([
    ["cloudpickle", {}, "bytes", 74_000],
    ["json", JSON_FORMAT, "'x' * ", 98_000],
  ] as const)("accepts results up to the limit in the format %s", ([, more, value, size]) =>
    Effect.gen(function* () {
      const fitting = yield* responseTo(`def f(): return ${value}(${size})`, more);
      assert.isNull(fitting.json.error);
      assert.isAtMost(fitting.size, 100_000);
      const above = yield* responseTo(`def f(): return ${value}(${size + 3000})`, more);
      assert.include(above.json.error, "WORKER_RESULT_LIMIT");
    }),
  );

  it.effect("does not apply to results that are printed locally", () =>
    Effect.gen(function* () {
      const response = yield* call("def f(): return 'x' * 1_000_000", "f");
      assert.strictEqual(String(response.json_result).length, 1_000_000);
    }),
  );
});

layer(realWorker(), { excludeTestServices: true })("a JSON result", (it) => {
  it.effect.each([
    ["a million lists", "def f(): return [[] for _ in range(10**6)]", /more than 100,000 lists/],
    ["many keys", "def f(): return {str(n): n for n in range(700000)}", /more than/],
    [
      "900 nested lists",
      "def f():\n    a = []\n    for _ in range(900): a = [a]\n    return a",
      /nested deeper/,
    ],
  ] as const)("that is too complex fails without blocking the event loop: %s", ([, code, reason]) =>
    inOneProcess(
      Effect.gen(function* () {
        const gap = yield* longestGap(
          Effect.gen(function* () {
            assert.match((yield* responseTo(code, JSON_FORMAT)).json.error, reason);
            assert.match((yield* call(code, "f")).error ?? "", reason);
          }),
        );
        // The aim is 100 ms; this has tolerance for a busy machine. Without limits it takes 9 s.
        assert.isBelow(gap, 1000);
      }),
    ),
  );

  it.effect.each([
    "None",
    "True",
    "-1.5e300",
    "2**70",
    "''",
    "'\\u20ac \\ud800 \\n \"'",
    "[]",
    "{}",
    "[{'a': [1, None, {}]}, [[]], 'x']",
    "[0.1] * 300000",
  ])("arrives as Python encoded it: %s", (expression) =>
    Effect.gen(function* () {
      const { json } = yield* responseTo(`def f(): return ${expression}`, JSON_FORMAT);
      const local = yield* call(`def f(): return ${expression}`, "f");
      assert.strictEqual(json.error, null);
      assert.deepStrictEqual(json.json_result, local.json_result);
      const same = yield* call("import json\ndef f(a): return a == " + expression, "f", [
        json.json_result,
      ]);
      if (expression !== "2**70") assert.strictEqual(same.json_result, true);
    }),
  );
});

const FORGE = readFileSync(join(import.meta.dirname, "../support/python/forge.py"), "utf8");

/** A folder with a file that must not change. */
const victim = Effect.tap(temporaryFolder, (folder) =>
  Effect.sync(() => writeFileSync(join(folder, "file"), "precious")),
);

layer(realWorker({ WORKER_CANCEL_GRACE: "0.5" }), { excludeTestServices: true })(
  "a job that forges frames",
  (it) => {
    it.effect.each([
      ["of 3.3 GB", "write(struct.pack('<IBxxxI', 3_300_000_000, RESULT, call_id()))"],
      ["of a type that only the worker sends", "write(frame(CALL, call_id(), {}))"],
      ["for another call", "write(frame(RESULT, call_id() ^ 1, {}))"],
      ["for no call", "write(frame(RESULT, 0, {}))"],
      ["of a start", "write(frame(READY, 0, {}))"],
      [
        "of a generator although it is none",
        "write(frame(CHUNK, call_id(), {'value': 'json'}, b'1'))",
      ],
      ["with 2 MB of notes", "write(result(notes=['x' * 2_000_000]))"],
      ["with 100,000 notes", "write(result(notes=['x'] * 100_000))"],
      [
        "with an instance of another job",
        "write(result(instance={'id': 'C_1', 'class_name': 'C', 'created_at': '', 'method_calls': 1, 'last_used': ''}))",
      ],
      ["with a file as its output", "write(result(output='FOLDER/file'))"],
      ["with a value of another format", "write(result(value='cloudpickle'))"],
      ["with an error and a value", "write(result(ok=False))"],
      ["with a broken value", "write(result().replace(b'null', b'nul,'))"],
    ] as const)("%s fails, and the next job runs in a new process", ([, code]) =>
      Effect.gen(function* () {
        const folder = yield* victim;
        const before = yield* pid;
        const source = `${FORGE}\ndef f():\n    ${code.replace("FOLDER", folder)}\n    time.sleep(60)`;
        const response = yield* call(source, "f");
        assert.match(response.error ?? "", /control channel|invalid response|can't be returned/);
        assert.strictEqual(readFileSync(join(folder, "file"), "utf8"), "precious");
        yield* nextJobSucceeds;
        assert.notStrictEqual(yield* pid, before);
      }).pipe(Effect.scoped),
    );

    it.effect.each([
      ["twice", "write(result()); write(result())"],
      ["and returns", "write(result())"],
      [
        "from a thread when it has ended",
        "call = call_id(); threading.Thread(target=lambda: (time.sleep(0.3), write(frame(RESULT, call, {})))).start()",
      ],
    ] as const)("as a valid result, %s, does not affect the next job", ([, code]) =>
      Effect.gen(function* () {
        yield* call(`${FORGE}\ndef f():\n    ${code}`, "f");
        yield* nextJobSucceeds;
        yield* Effect.sleep("400 millis");
        yield* nextJobSucceeds;
      }),
    );

    it.effect.each([
      ["a link in place of the pipe", "os.symlink('FOLDER/pipe', scratch() + '/output-2')"],
      ["a file in place of the pipe", "open(scratch() + '/output-2', 'w').close()"],
      [
        "a link in place of the folder with pipes",
        "os.rename('FOLDER/pipe', 'FOLDER/output-2'); os.rename(scratch(), scratch() + '.moved'); os.symlink('FOLDER', scratch())",
      ],
    ] as const)("with %s opens and removes no other file", ([, code]) =>
      Effect.gen(function* () {
        const folder = yield* victim;
        const source = `${FORGE}
def f():
    os.mkfifo('${folder}/pipe')
    ${code.replaceAll("FOLDER", folder)}
    write(result(output=True))
    time.sleep(60)`;
        yield* call(source, "f");
        assert.isTrue(existsSync(join(folder, "pipe")) || existsSync(join(folder, "output-2")));
        assert.strictEqual(readFileSync(join(folder, "file"), "utf8"), "precious");
        yield* nextJobSucceeds;
      }).pipe(Effect.scoped),
    );
  },
);

layer(realWorker(), { excludeTestServices: true })("the size of messages is limited for", (it) => {
  it.effect("200 threads with names of 1 MB that contain line breaks", () =>
    Effect.gen(function* () {
      const response = yield* call(
        `
import threading
done = threading.Event()
def f():
    for n in range(200):
        threading.Thread(target=done.wait, args=(5,), name="line\\nline" + "x" * 10**6, daemon=True).start()
    return "started"`,
        "f",
      );
      assert.deepStrictEqual([response.json_result, response.error], ["started", null]);
      const next = yield* call("def f(): return 1", "f");
      assert.strictEqual(next.json_result, 1);
      assert.isBelow(next.stdout?.length ?? 0, 10_000);
      assert.match(next.stdout ?? "", /^\[worker-tetra\] Threads .*line\?line.* 180 more\).*\n$/);
    }),
  );

  it.effect("notes about many local modules: only the first ones are shown", () =>
    Effect.gen(function* () {
      const modules = Object.fromEntries(STANDARD_MODULES.map((name) => [`${name}.py`, ""]));
      const response = yield* call("def f(): return 1", "f", [], { modules });
      const notes = response.stdout?.trimEnd().split("\n") ?? [];
      assert.lengthOf(notes, 21);
      assert.match(String(notes.at(-1)), /\d more notes were left out/);
    }),
  );

  it.effect.each([
    [
      "frames",
      "def g(n): return h(n - 1)\ndef h(n): return 1 / n and g(n)\ndef f(): g(450)",
      /File "/g,
      200,
    ],
    [
      "causes",
      "def f():\n    error = None\n    for n in range(100):\n        try: raise ValueError(n) from error\n        except ValueError as caught: error = caught\n    raise error",
      /direct cause/g,
      20,
    ],
  ] as const)("a traceback with many %s: only the last ones are shown", ([, code, sign, most]) =>
    Effect.gen(function* () {
      const response = yield* call(code, "f");
      assert.match(response.error ?? "", /^(ZeroDivisionError|ValueError: 99)/);
      const shown = response.error?.match(sign)?.length ?? 0;
      assert.isAbove(shown, 1);
      assert.isAtMost(shown, most);
    }),
  );

  it.effect("the metadata of a frame: Python raises an error before it is sent", () =>
    Effect.gen(function* () {
      const response = yield* call(
        `
import socket, sys
def f():
    wire = sys.modules["tetra_runner.wire"]
    here, there = socket.socketpair()
    there.close()
    wire.Channel(here).send(wire.RESULT, 1, {"notes": "x" * wire.MAX_META})`,
        "f",
      );
      assert.match(response.error ?? "", /^ValueError: the metadata is too large/);
    }),
  );

  it.effect.each([
    ["an error of 10 MB", "def f(): raise ValueError('x' * 10**7)"],
    [
      "an error whose type has a name of 1 MB",
      "def f(): raise type('E' * 10**6, (Exception,), {})()",
    ],
    ["a hundred thousand functions", "for n in range(10**5): exec('def g%d(): pass' % n)\ndel f"],
    [
      "an error that can't be formatted, whose type has a name of 1 MB",
      "def show(self): raise SystemExit\ndef f(): raise type('E' * 10**6, (Exception,), {'__str__': show})()",
    ],
    ["an exit with 10 MB", "def f(): raise SystemExit('x' * 10**7)"],
    [
      "a result of a type with a name of 1 MB",
      "T = type('T' * 10**6, (), {'__reduce__': lambda self: 1 / 0})\ndef f(): return T()",
    ],
  ] as const)("%s", ([, code]) =>
    inOneProcess(
      Effect.gen(function* () {
        const response = yield* call(code.replace("del f", "f = None"), "f");
        assert.isNotNull(response.error);
        assert.isBelow(response.error?.length ?? 0, 100_000);
        // Names are truncated in messages.
        assert.notMatch(response.error ?? "", /^the result, of type T{201}/);
      }),
    ),
  );
});
