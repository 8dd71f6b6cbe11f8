import { assert, layer } from "@effect/vitest";
import { Deferred, Effect, Exit, Fiber } from "effect";

import { JobListener, listenerOf } from "../../src/domain/JobEvents.ts";
import { RunnerPool } from "../../src/runner/RunnerPool.ts";
import { call, callMethod, realWorker } from "../support/processes/RealWorker.ts";

const NEXT_JOB = "def f():\n    print('printed')\n    return 'well'";

/** Checks that the next job has its own output and its own result. */
const nextJobSucceeds = Effect.gen(function* () {
  const response = yield* call(NEXT_JOB, "f");
  assert.deepStrictEqual([response.json_result, response.error], ["well", null]);
  assert.include(response.stdout, "printed\n");
});

layer(realWorker({ WORKER_CANCEL_GRACE: "0.5" }), { excludeTestServices: true })(
  "a job that ends its process",
  (it) => {
    it.effect.each([
      ["os._exit", "import os\ndef f():\n    print('before')\n    os._exit(3)", /exit code 3/],
      ["os.abort", "import os\ndef f():\n    print('before')\n    os.abort()", /SIGABRT/],
      [
        "SIGKILL",
        "import os\ndef f():\n    print('before')\n    os.kill(os.getpid(), 9)",
        /SIGKILL/,
      ],
      [
        "SIGTERM",
        "import os\ndef f():\n    print('before')\n    os.kill(os.getpid(), 15)",
        /SIGTERM/,
      ],
      [
        "a segmentation fault",
        "import ctypes\ndef f():\n    print('before')\n    ctypes.string_at(0)",
        /SIGSEGV/,
      ],
      [
        "an unfinished line and os._exit",
        "import os\ndef f():\n    print('before', end='')\n    os._exit(0)",
        /exit code 0/,
      ],
      [
        "all descriptors closed",
        "import os\ndef f():\n    print('before')\n    os.closerange(3, 65536)",
        /file descriptor/,
      ],
      [
        "fake bytes on every socket",
        "import os\ndef f():\n    print('before')\n    for fd in range(3, 1024):\n        try:\n            if os.readlink(f'/proc/self/fd/{fd}').startswith('socket'): os.write(fd, b'x' * 64)\n        except OSError: pass\n    import time; time.sleep(30)",
        /SIGKILL/,
      ],
    ] as const)("by %s fails, and the next job succeeds", ([, code, reason]) =>
      Effect.gen(function* () {
        const response = yield* call(code, "f");
        assert.isFalse(response.success);
        assert.match(response.error ?? "", reason);
        assert.include(response.stdout, "before");
        yield* nextJobSucceeds;
      }),
    );

    it.effect("reports that its instances are lost, also in the call that creates one again", () =>
      Effect.gen(function* () {
        const code =
          "import os\nclass C:\n    def __init__(self): self.n = 0\n    def add(self):\n        self.n += 1\n        return self.n\n    def die(self): os._exit(1)";
        yield* callMethod(code, "C", "C_1", "add");
        const crash = yield* callMethod(code, "C", "C_1", "die");
        assert.include(crash.error, "lost");
        const anew = yield* callMethod(code, "C", "C_1", "add");
        assert.strictEqual(anew.json_result, 1);
        assert.match(anew.stdout ?? "", /\[worker-tetra\] Instance C_1 was recreated/);
      }),
    );

    it.effect("ends all its child processes, also daemons in other sessions", () =>
      Effect.gen(function* () {
        const code = `
import os, subprocess
def f(path):
    child = subprocess.Popen(["sleep", "1000"])
    daemon = subprocess.Popen(["setsid", "sleep", "1001"])
    open(path, "w").write(f"{child.pid} {daemon.pid}")
    os._exit(5)
`;
        yield* call(code, "f", ["pids.txt"]);
        const left = yield* call(
          `import os, time
def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
def f(path):
    pids = [int(pid) for pid in open(path).read().split()]
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [pid for pid in pids if alive(pid)]`,
          "f",
          ["pids.txt"],
        );
        assert.deepStrictEqual([left.json_result, left.error], [[], null]);
      }),
    );

    it.effect("by a broken CUDA context fails with its error, and the process is replaced", () =>
      Effect.gen(function* () {
        const pid = "import os\ndef f(): return os.getpid()";
        const before = yield* call(pid, "f");
        const response = yield* call(
          "def f(): raise RuntimeError('CUDA error: device-side assert triggered')",
          "f",
        );
        assert.include(response.error, "device-side assert");
        assert.match(response.stdout ?? "", /\[worker-tetra\].*replaced/);
        const after = yield* call(pid, "f");
        assert.notStrictEqual(after.json_result, before.json_result);
      }),
    );
  },
);

layer(realWorker(), { excludeTestServices: true })("the next job is not affected by", (it) => {
  it.effect.each([
    ["stdout closed", "import sys\ndef f(): sys.stdout.close()"],
    ["stdout replaced", "import sys, io\ndef f(): sys.stdout = sys.stderr = io.StringIO()"],
    ["descriptors 0 to 2 closed", "import os\ndef f(): os.closerange(0, 3)"],
    [
      "descriptors 1 and 2 redirected",
      "import os\ndef f():\n    n = os.open('/dev/null', os.O_WRONLY)\n    os.dup2(n, 1); os.dup2(n, 2)",
    ],
    ["the middle descriptors closed", "import os\ndef f(): os.closerange(3, 256)"],
    ["O_NONBLOCK set", "import os\ndef f(): os.set_blocking(1, False)"],
    ["a changed working directory", "import os\ndef f(): os.chdir('/')"],
    [
      "a removed working directory",
      "import os, tempfile\ndef f():\n    d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)",
    ],
    ["endless recursion", "def f(): return f()"],
    ["a high recursion limit", "import sys\ndef f(): sys.setrecursionlimit(10**6)"],
    ["SIGINT ignored", "import signal\ndef f(): signal.signal(signal.SIGINT, signal.SIG_IGN)"],
    ["an alarm", "import signal\ndef f(): signal.alarm(1)"],
    ["a trace function", "import sys\ndef f(): sys.settrace(lambda *a: 1/0)"],
    ["a broken json", "import json\ndef f(): json.loads = json.dumps = None"],
    ["a forked child that returns", "import os\ndef f(): os.fork()"],
    [
      "sys.modules emptied of the runner",
      "import sys\ndef f():\n    for name in [n for n in sys.modules if n.startswith('runner')]: del sys.modules[name]",
    ],
    ["stdin read", "def f(): input()"],
    [
      "an exception that can't be formatted",
      "class E(Exception):\n    __str__ = __repr__ = None\ndef f(): raise E()",
    ],
  ] as const)("%s", ([, code]) =>
    Effect.gen(function* () {
      yield* call(code, "f");
      const response = yield* call(
        "import os\ndef f():\n    print('printed')\n    return os.getcwd() == os.path.realpath(os.environ['PWD_OF_TEST']) if 'PWD_OF_TEST' in os.environ else os.access('.', os.W_OK)",
        "f",
      );
      assert.deepStrictEqual(
        [response.json_result, response.stdout, response.error],
        [true, "printed\n", null],
      );
    }),
  );
});

layer(realWorker({ WORKER_JOB_TIMEOUT: "1", WORKER_CANCEL_GRACE: "0.5" }), {
  excludeTestServices: true,
})("a job that exceeds WORKER_JOB_TIMEOUT", (it) => {
  it.effect.each([
    ["sleeping", "import time\ndef f():\n    print('before')\n    time.sleep(60)"],
    ["computing", "def f():\n    print('before')\n    while True: pass"],
    [
      "waiting for a lock",
      "import threading\ndef f():\n    print('before')\n    l = threading.Lock(); l.acquire(); l.acquire()",
    ],
    [
      "waiting for a child",
      "import subprocess\ndef f():\n    print('before')\n    subprocess.run(['sleep', '60'])",
    ],
    [
      "in asyncio",
      "import asyncio\nasync def f():\n    print('before')\n    await asyncio.sleep(60)",
    ],
    ["while its arguments are read", "import time\nprint('before')\ntime.sleep(60)\ndef f(): pass"],
  ] as const)("is interrupted, and instances are kept: %s", ([, code]) =>
    Effect.gen(function* () {
      const counter =
        "class C:\n    n = 0\n    def add(self):\n        self.n += 1\n        return self.n";
      const before = yield* callMethod(counter, "C", "C_limit", "add");
      const response = yield* call(code, "f");
      assert.isFalse(response.success);
      assert.include(response.error, "WORKER_JOB_TIMEOUT");
      assert.include(response.error, "1 seconds");
      assert.include(response.stdout, "before");
      const after = yield* callMethod(counter, "C", "C_limit", "add");
      assert.strictEqual(after.json_result, Number(before.json_result) + 1);
    }),
  );

  it.effect.each([
    [
      "catches everything",
      "import time\ndef f():\n    while True:\n        try: time.sleep(60)\n        except BaseException: pass",
    ],
    [
      "ignores SIGINT",
      "import signal, time\ndef f():\n    signal.signal(signal.SIGINT, signal.SIG_IGN)\n    time.sleep(60)",
    ],
    [
      "blocks signals",
      "import signal, time\ndef f():\n    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n    time.sleep(60)",
    ],
  ] as const)("and %s is killed", ([, code]) =>
    Effect.gen(function* () {
      const response = yield* call(code, "f");
      assert.include(response.error, "WORKER_JOB_TIMEOUT");
      assert.include(response.error, "killed");
      yield* nextJobSucceeds;
    }),
  );
});

layer(realWorker({ WORKER_CANCEL_GRACE: "5" }), { excludeTestServices: true })(
  "a cancelled job",
  (it) => {
    it.effect("stops immediately, and its process runs the next job", () =>
      Effect.gen(function* () {
        const pid = "import os\ndef f(): return os.getpid()";
        const before = yield* call(pid, "f");
        const started = yield* Deferred.make<void>();
        const fiber = yield* call(
          "import time\ndef f():\n    print('on')\n    time.sleep(600)",
          "f",
        ).pipe(
          Effect.provideService(
            JobListener,
            listenerOf({
              OutputWritten: () => Deferred.doneUnsafe(started, Exit.void),
            }),
          ),
          Effect.forkChild,
        );
        yield* Deferred.await(started);
        yield* Fiber.interrupt(fiber);
        const after = yield* call(pid, "f");
        assert.strictEqual(after.json_result, before.json_result);
        yield* nextJobSucceeds;
      }),
    );

    it.effect("never affects the result of the next one", () =>
      Effect.gen(function* () {
        const runner = yield* RunnerPool;
        yield* runner.warm;
        for (let turn = 0; turn < 60; turn += 1) {
          const fiber = yield* Effect.forkChild(
            call("def f(n): return sum(range(n))", "f", [(turn % 7) * 20_000]),
          );
          for (let step = 0; step < turn * 4; step += 1) yield* Effect.yieldNow;
          yield* Fiber.interrupt(fiber);
          const next = yield* call("def f(n):\n    print(n)\n    return n", "f", [turn]);
          assert.deepStrictEqual([next.json_result, next.stdout], [turn, `${turn}\n`]);
        }
      }),
    );
  },
);
