import { assert, layer } from "@effect/vitest";
import { Effect } from "effect";

import { JobListener, listenerOf } from "../../../src/domain/JobEvents.ts";
import { call, realWorker } from "../../support/processes/RealWorker.ts";

const KEY = "rpa_secret_0123456789abcdef";

layer(realWorker({ RUNPOD_AI_API_KEY: KEY, RUNPOD_API_KEY: `user-${KEY}` }), {
  excludeTestServices: true,
})("the output of a job", (it) => {
  it.effect("has the output of Python, C code and child processes in the order of the writes", () =>
    Effect.gen(function* () {
      const code = `
import ctypes, logging, os, subprocess, sys, warnings
def f():
    for i in range(20):
        print(i, "print")
        print(i, "stderr", file=sys.stderr)
        logging.getLogger("x").debug("%d logging", i)
        os.write(1, b"%d os.write\\n" % i)
        ctypes.CDLL(None).puts(b"%d puts" % i)
        os.system(f"echo {i} system")
        subprocess.run([sys.executable, "-Sc", f"print({i}, 'child')"])
        open("/dev/stdout", "a").write(f"{i} /dev/stdout\\n")
`;
      const response = yield* call(code, "f");
      assert.isNull(response.error);
      const kinds = [
        "print",
        "stderr",
        "logging",
        "os.write",
        "puts",
        "system",
        "child",
        "/dev/stdout",
      ];
      const expected = Array.from({ length: 20 }, (_, i) =>
        kinds.map((kind) => `${i} ${kind}\n`).join(""),
      );
      assert.strictEqual(response.stdout, expected.join(""));
    }),
  );

  it.effect("is valid text if the bytes are not UTF-8", () =>
    Effect.gen(function* () {
      const response = yield* call(
        "import os\ndef f():\n    os.write(1, b'\\xe2\\x82')\n    os.write(1, b'\\xac \\xff\\n')\n    print('\\udcff \\ud83d')",
        "f",
      );
      assert.strictEqual(response.stdout, "€ \uFFFD\n\\udcff \\ud83d\n");
      assert.isTrue(response.stdout?.isWellFormed());
    }),
  );

  it.effect("arrives line by line while the job runs, and completely in the response", () =>
    Effect.gen(function* () {
      const live: Array<string> = [];
      const response = yield* call(
        "def f():\n    print('one')\n    print('two', end='')",
        "f",
      ).pipe(
        Effect.provideService(
          JobListener,
          listenerOf({
            OutputWritten: ({ lines }) => live.push(lines),
          }),
        ),
      );
      assert.strictEqual(live.join(""), "one\ntwo\n");
      assert.strictEqual(response.stdout, "one\ntwo");
    }),
  );

  it.effect("has the worker's credentials masked, and the code can't read them", () =>
    Effect.gen(function* () {
      const live: Array<string> = [];
      const response = yield* call(
        "import os\ndef f(parts):\n    print('key', ''.join(parts))\n    print('RUNPOD_AI_API_KEY' in os.environ)\n    raise ValueError(''.join(parts))",
        "f",
        [[...KEY]],
      ).pipe(
        Effect.provideService(
          JobListener,
          listenerOf({ OutputWritten: ({ lines }) => live.push(lines) }),
        ),
      );
      assert.include(response.stdout, "key ***\nFalse");
      assert.include(response.error, "ValueError: ***");
      assert.notInclude(JSON.stringify(response) + live.join(""), KEY);
      const nested = yield* call("import os\ndef f(): return os.environ['RUNPOD_API_KEY']", "f");
      assert.strictEqual(nested.json_result, `user-${KEY}`);
    }),
  );

  it.effect("does not contain output of a child process of an earlier job", () =>
    Effect.gen(function* () {
      const first = yield* call(
        `import subprocess
def f():
    return subprocess.Popen(["sh", "-c", "while :; do echo leftover; sleep 0.01; done"]).pid`,
        "f",
      );
      assert.isNull(first.error);
      for (let turn = 0; turn < 20; turn += 1) {
        const next = yield* call(
          "import time\ndef f():\n    time.sleep(0.02)\n    print('mine')",
          "f",
        );
        assert.strictEqual(next.stdout, "mine\n");
      }
      const pid = Number(first.json_result);
      const alive = yield* call("import os\ndef f(pid): os.kill(pid, 0); os.kill(pid, 9)", "f", [
        pid,
      ]);
      assert.isNull(alive.error);
    }),
  );

  it.effect("has a note if threads of an earlier job are still running", () =>
    Effect.gen(function* () {
      yield* call(
        `import threading, sys
def f():
    done = sys.modules.setdefault("stop_event_of_test", type(sys)("stop_event_of_test"))
    done.event = threading.Event()
    threading.Thread(target=done.event.wait, name="straggler", daemon=True).start()`,
        "f",
      );
      const next = yield* call("def f(): print('mine')", "f");
      assert.include(next.stdout, "mine\n");
      assert.match(next.stdout ?? "", /\[worker-tetra\].*straggler/);
      yield* call("import sys\ndef f(): sys.modules['stop_event_of_test'].event.set()", "f");
    }),
  );

  it.effect("keeps its beginning and its end if it exceeds WORKER_OUTPUT_LIMIT", () =>
    Effect.gen(function* () {
      const response = yield* call(
        "import os\ndef f():\n    print('the beginning')\n    for _ in range(160):\n        os.write(1, b'x' * 65536)\n    print()\n    print('the end')",
        "f",
      );
      assert.isTrue(response.stdout?.startsWith("the beginning\n"));
      assert.isTrue(response.stdout?.endsWith("\nthe end\n"));
      assert.match(response.stdout ?? "", /\[worker-tetra\] \d+ bytes of output left out/);
      assert.isBelow(response.stdout?.length ?? 0, 1_100_000);
    }),
  );

  it.effect("can contain the bytes of a protocol frame without an effect", () =>
    Effect.gen(function* () {
      const response = yield* call(
        "import os, struct\ndef f():\n    os.write(1, struct.pack('<IBxxxI', 6, 4, 1) + b'\\x02\\0\\0\\0{}')\n    return 'real'",
        "f",
      );
      assert.strictEqual(response.json_result, "real");
    }),
  );

  it.effect("is not affected by reading stdin, which is empty", () =>
    Effect.gen(function* () {
      const response = yield* call("import sys\ndef f(): return sys.stdin.read()", "f");
      assert.strictEqual(response.json_result, "");
    }),
  );

  it.effect("is not formatted by the logging that an earlier job configured", () =>
    Effect.gen(function* () {
      yield* call(
        "import logging\ndef f():\n    logging.basicConfig(level=logging.ERROR, format='X %(message)s', force=True)\n    logging.error('own')",
        "f",
      );
      const response = yield* call("import logging\ndef f(): logging.debug('plain')", "f");
      assert.strictEqual(response.stdout, "plain\n");
    }),
  );
});
