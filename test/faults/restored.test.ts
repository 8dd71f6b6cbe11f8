import { assert, layer } from "@effect/vitest";
import { Effect } from "effect";

import { call, realWorker } from "../support/processes/RealWorker.ts";

/** State of a process that a job can change: code that changes it, and an expression that reads it. */
interface Fact {
  readonly fact: string;
  readonly change: string;
  readonly observed: string;
}

const handled = [
  "INT",
  "TERM",
  "HUP",
  "QUIT",
  "ALRM",
  "VTALRM",
  "PROF",
  "CHLD",
  "PIPE",
  "USR1",
  "USR2",
];

const FACTS: ReadonlyArray<Fact> = [
  { fact: "the working directory", change: "os.chdir('/')", observed: "os.getcwd()" },
  {
    fact: "a working directory that was removed",
    change: "folder = tempfile.mkdtemp(); os.chdir(folder); os.rmdir(folder)",
    observed: "os.readlink('/proc/self/cwd')",
  },
  {
    fact: "the umask",
    change: "os.umask(0o777)",
    observed: "[mask := os.umask(0), os.umask(mask)][0]",
  },
  {
    fact: "the recursion limit",
    change: "sys.setrecursionlimit(5000)",
    observed: "sys.getrecursionlimit()",
  },
  ...handled.map((name) => ({
    fact: `the handler of SIG${name}`,
    change: `signal.signal(signal.SIG${name}, changed)`,
    observed: `repr(signal.getsignal(signal.SIG${name}))`,
  })),
  {
    fact: "the signal mask",
    change: "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})",
    observed: "sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))",
  },
  ...["REAL", "VIRTUAL", "PROF"].map((name) => ({
    fact: `the timer ITIMER_${name}`,
    change: `signal.setitimer(signal.ITIMER_${name}, 3600)`,
    observed: `signal.getitimer(signal.ITIMER_${name})[0] > 0`,
  })),
  {
    fact: "the wakeup descriptor of signals",
    change: "os.set_blocking(pipe[1], False); signal.set_wakeup_fd(pipe[1])",
    observed: "[fd := signal.set_wakeup_fd(-1), signal.set_wakeup_fd(fd)][0]",
  },
  {
    fact: "the trace function",
    change: "sys.settrace(changed)",
    observed: "sys.gettrace() is not None",
  },
  {
    fact: "the profile function",
    change: "sys.setprofile(changed)",
    observed: "sys.getprofile() is not None",
  },
  { fact: "the garbage collector", change: "gc.disable()", observed: "gc.isenabled()" },
  ...[1, 2].map((fd) => ({
    fact: `the blocking mode of descriptor ${fd}`,
    change: `os.set_blocking(${fd}, False)`,
    observed: `os.get_blocking(${fd})`,
  })),
  ...[0, 1, 2].map((fd) => ({
    fact: `descriptor ${fd}`,
    change: `os.dup2(pipe[1], ${fd})`,
    observed: `os.fstat(${fd}).st_ino`,
  })),
  ...["stdout", "stderr", "stdin"].map((name) => ({
    fact: `the stream sys.${name}`,
    change: `setattr(sys, "${name}", io.StringIO())`,
    observed: `type(sys.${name}).__name__`,
  })),
  {
    fact: "the event loop policy",
    change: "asyncio.set_event_loop_policy(Policy())",
    observed: "type(asyncio.get_event_loop_policy()).__name__",
  },
  {
    fact: "the mark of a running event loop",
    change: "asyncio.events._set_running_loop(asyncio.new_event_loop())",
    observed: "asyncio.events._get_running_loop() is None",
  },
  {
    fact: "the fault handler",
    change: "faulthandler.disable()",
    observed: "faulthandler.is_enabled()",
  },
  {
    fact: "the root logger's level",
    change: "logging.getLogger().setLevel(logging.CRITICAL)",
    observed: "logging.getLogger().level",
  },
  {
    fact: "the root logger's handlers",
    change: "logging.getLogger().addHandler(logging.NullHandler())",
    observed: "list(map(repr, logging.getLogger().handlers))",
  },
  {
    fact: "the level below which logging is disabled",
    change: "logging.disable(logging.CRITICAL)",
    observed: "logging.getLogger().manager.disable",
  },
];

const sourceOf = ({ change, observed }: Fact) => `
import asyncio, faulthandler, gc, io, logging, os, signal, sys, tempfile

pipe = os.pipe()

def changed(*_):
    return None

class Policy(asyncio.DefaultEventLoopPolicy if hasattr(asyncio, "DefaultEventLoopPolicy") else object):
    pass

def observe():
    return [os.getpid(), ${observed}]

def change():
    ${change}
    return observe()
`;

layer(realWorker(), { excludeTestServices: true })("after a job, its process restores", (it) => {
  it.effect.each(FACTS)("$fact", (fact) =>
    Effect.gen(function* () {
      const source = sourceOf(fact);
      const observe = Effect.map(call(source, "observe"), ({ json_result, error }) => {
        assert.isNull(error);
        return json_result;
      });
      const before = yield* observe;
      const changed = yield* call(source, "change");
      assert.isNull(changed.error);
      assert.notDeepEqual(changed.json_result, before, "the job changed nothing");
      // The process id is compared too: a new process would have the original state in any case.
      assert.deepStrictEqual(yield* observe, before);
    }),
  );

  it.effect("the output of faulthandler, so that it shows the crash of a later job", () =>
    Effect.gen(function* () {
      const elsewhere = `
import faulthandler, os
def f():
    faulthandler.enable(os.open(os.devnull, os.O_WRONLY))
`;
      assert.isNull((yield* call(elsewhere, "f")).error);
      const crash = yield* call("import ctypes\ndef f():\n    ctypes.string_at(0)", "f");
      assert.include(crash.stdout, "Segmentation fault");
    }),
  );

  it.effect("the timer of faulthandler, so that it does not exit during a later job", () =>
    Effect.gen(function* () {
      const arm = `
import faulthandler, os
def f():
    faulthandler.dump_traceback_later(0.2, exit=True)
    return os.getpid()
`;
      const late = "import os, time\ndef f():\n    time.sleep(0.5)\n    return os.getpid()";
      const { json_result: pid } = yield* call(arm, "f");
      assert.deepInclude(yield* call(late, "f"), { json_result: pid, error: null });
    }),
  );
});
