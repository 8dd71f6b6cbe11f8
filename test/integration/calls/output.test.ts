import { assert, layer } from "@effect/vitest";
import { Effect } from "effect";

import { JobListener, listenerOf } from "../../../src/domain/JobEvents.ts";
import { call, realWorker } from "../../support/processes/RealWorker.ts";

const KEY = "rpa_secret_0123456789abcdef";

layer(realWorker({ RUNPOD_AI_API_KEY: KEY, RUNPOD_API_KEY: `user-${KEY}` }), {
  excludeTestServices: true,
})("the output of a job", (it) => {
  it.effect(
    "has everything in the order in which it was written, by Python, C code and child processes",
    () =>
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
        const answer = yield* call(code, "f");
        assert.isNull(answer.error);
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
        assert.strictEqual(answer.stdout, expected.join(""));
      }),
  );

  it.effect("is valid text when the bytes are not UTF-8", () =>
    Effect.gen(function* () {
      const answer = yield* call(
        "import os\ndef f():\n    os.write(1, b'\\xe2\\x82')\n    os.write(1, b'\\xac \\xff\\n')\n    print('\\udcff \\ud83d')",
        "f",
      );
      assert.strictEqual(answer.stdout, "€ \uFFFD\n\\udcff \\ud83d\n");
      assert.isTrue(answer.stdout?.isWellFormed());
    }),
  );

  it.effect("arrives line by line while the job runs, and completely in the response", () =>
    Effect.gen(function* () {
      const live: Array<string> = [];
      const answer = yield* call("def f():\n    print('one')\n    print('two', end='')", "f").pipe(
        Effect.provideService(
          JobListener,
          listenerOf({
            OutputWritten: ({ lines }) => live.push(lines),
          }),
        ),
      );
      assert.strictEqual(live.join(""), "one\ntwo\n");
      assert.strictEqual(answer.stdout, "one\ntwo");
    }),
  );

  it.effect("has the worker's credentials masked, and the code can't read them", () =>
    Effect.gen(function* () {
      const live: Array<string> = [];
      const answer = yield* call(
        "import os\ndef f(parts):\n    print('key', ''.join(parts))\n    print('RUNPOD_AI_API_KEY' in os.environ)\n    raise ValueError(''.join(parts))",
        "f",
        [[...KEY]],
      ).pipe(
        Effect.provideService(
          JobListener,
          listenerOf({ OutputWritten: ({ lines }) => live.push(lines) }),
        ),
      );
      assert.include(answer.stdout, "key ***\nFalse");
      assert.include(answer.error, "ValueError: ***");
      assert.notInclude(JSON.stringify(answer) + live.join(""), KEY);
      const nested = yield* call("import os\ndef f(): return os.environ['RUNPOD_API_KEY']", "f");
      assert.strictEqual(nested.json_result, `user-${KEY}`);
    }),
  );

  it.effect("has nothing that a child process of an earlier job writes", () =>
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

  it.effect("has a note when threads of an earlier job may have written to it", () =>
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

  it.effect("keeps its beginning and its end when it is too long", () =>
    Effect.gen(function* () {
      const answer = yield* call(
        "import os\ndef f():\n    print('the beginning')\n    for _ in range(160):\n        os.write(1, b'x' * 65536)\n    print()\n    print('the end')",
        "f",
      );
      assert.isTrue(answer.stdout?.startsWith("the beginning\n"));
      assert.isTrue(answer.stdout?.endsWith("\nthe end\n"));
      assert.match(answer.stdout ?? "", /\[worker-tetra\] \d+ bytes of output left out/);
      assert.isBelow(answer.stdout?.length ?? 0, 1_100_000);
    }),
  );

  it.effect("may contain bytes of a protocol frame, which are only text", () =>
    Effect.gen(function* () {
      const answer = yield* call(
        "import os, struct\ndef f():\n    os.write(1, struct.pack('<IBxxxI', 6, 4, 1) + b'\\x02\\0\\0\\0{}')\n    return 'real'",
        "f",
      );
      assert.strictEqual(answer.json_result, "real");
    }),
  );

  it.effect("is not affected by reading stdin, which is empty", () =>
    Effect.gen(function* () {
      const answer = yield* call("import sys\ndef f(): return sys.stdin.read()", "f");
      assert.strictEqual(answer.json_result, "");
    }),
  );

  it.effect("is not formatted by the logging that an earlier job configured", () =>
    Effect.gen(function* () {
      yield* call(
        "import logging\ndef f():\n    logging.basicConfig(level=logging.ERROR, format='X %(message)s', force=True)\n    logging.error('own')",
        "f",
      );
      const answer = yield* call("import logging\ndef f(): logging.debug('plain')", "f");
      assert.strictEqual(answer.stdout, "plain\n");
    }),
  );
});
