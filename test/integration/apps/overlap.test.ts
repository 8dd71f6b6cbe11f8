import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, layer } from "@effect/vitest";
import { Effect, Fiber } from "effect";

import { JobListener, listenerOf } from "../../../src/domain/JobEvents.ts";
import { eventually } from "../../support/effects/Waiting.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { job, openApp, realApps } from "../../support/processes/RealApp.ts";

/** Functions of the apps: `meet(n)` waits until n jobs have called it, `wait_for(name)` until a file exists. */
const SUPPORT = `
import asyncio, contextlib, logging, os, sys, time

arrived = 0

async def meet(count):
    global arrived
    arrived += 1
    while arrived < count:
        await asyncio.sleep(0.005)

async def wait_for(name):
    while not os.path.exists(name):
        await asyncio.sleep(0.005)

def touch(name):
    open(name, "w").close()
`;

const files = (main: string) => ({
  "support.py": SUPPORT,
  "main.py": `from support import *\n${main}`,
});

const open = (main: string, concurrency = 8) => openApp(files(main), { concurrency });

const all = <A, E, R>(effects: ReadonlyArray<Effect.Effect<A, E, R>>) =>
  Effect.all(effects, { concurrency: "unbounded" });

/** A job that is running. */
const begun = (i: number) => Effect.forkChild(job({ i }));

/** The output of a job that is written in a certain order. */
const ordered = (i: number): ReadonlyArray<string> => [
  ...Array.from({ length: 50 }, (_, turn) => `${i} ${turn}`),
  `${i} stderr`,
  `${i} logging`,
];

layer(realApps({ WORKER_CANCEL_GRACE: "0.5" }), { excludeTestServices: true })(
  "jobs of an asynchronous app",
  (it) => {
    it.effect("overlap in one process", () =>
      Effect.gen(function* () {
        const { opened } = yield* open(
          "async def f(i):\n    await meet(8)\n    return [i, os.getpid()]",
        );
        assert.isTrue(opened.overlaps);
        const outcomes = yield* all(Array.from({ length: 8 }, (_, i) => job({ i })));
        const values = outcomes.map(({ value }) => JSON.parse(value ?? ""));
        const [[, pid]] = values;
        assert.deepStrictEqual(
          values,
          Array.from({ length: 8 }, (_, i) => [i, pid]),
        );
      }),
    );

    it.effect("run in the loop of the app's constructor", () =>
      Effect.gen(function* () {
        const code = `
class f:
    def __init__(self):
        self.loop = asyncio.get_event_loop()
    async def run(self):
        return self.loop is asyncio.get_running_loop()
`;
        yield* openApp(files(code), {
          concurrency: 2,
          resource: {
            targets: [{ module: "main", name: "f", methods: ["run"] }],
          },
        });
        assert.strictEqual((yield* job({})).value, "true");
      }),
    );

    it.effect("have only their own output, also of their tasks and threads", () =>
      Effect.gen(function* () {
        const code = `
async def child(i):
    await asyncio.sleep(0)
    print(i, "task")

async def f(i):
    await meet(4)
    for turn in range(50):
        print(i, turn)
        await asyncio.sleep(0)
    print(i, "stderr", file=sys.stderr)
    logging.getLogger("x").warning("%d logging", i)
    await asyncio.gather(child(i), asyncio.to_thread(print, i, "thread", flush=True))
    sys.stdout.write("%d unfinished" % i)
    os.write(1, b"%d descriptor\\n" % i)
`;
        const logs = keptLogs();
        yield* Effect.gen(function* () {
          yield* open(code);
          const lines: Array<Array<string>> = [[], [], [], []];
          const outcomes = yield* all(
            lines.map((live, i) =>
              job({ i }).pipe(
                Effect.provideService(
                  JobListener,
                  listenerOf({ OutputWritten: (event) => live.push(event.lines) }),
                ),
              ),
            ),
          );
          for (const [i, { output }] of outcomes.entries()) {
            const printed = output.split("\n");
            assert.deepStrictEqual(printed.slice(0, 52), ordered(i));
            assert.sameMembers(printed.slice(52), [`${i} task`, `${i} thread`, `${i} unfinished`]);
            assert.strictEqual(lines[i]?.join(""), `${output}\n`);
          }
          yield* eventually(() =>
            [0, 1, 2, 3].every((i) => logs.notices().includes(`app: ${i} descriptor`)),
          );
        }).pipe(Effect.provide(logs.layer));
      }),
    );

    it.effect("may leave threads and tasks that print after their end", () =>
      Effect.gen(function* () {
        const code = `
def print_many():
    for turn in range(200): print("thread", turn)

async def later():
    await asyncio.sleep(0)
    print("task")

async def f():
    loop = asyncio.get_running_loop()
    f.tasks = [loop.create_task(asyncio.to_thread(print_many)), loop.create_task(later())]
    await asyncio.sleep(0.001)
    return os.getpid()
`;
        yield* open(code);
        const pids = new Set<string | undefined>();
        for (let turn = 0; turn < 20; turn += 1) {
          for (const { value } of yield* all([job({}), job({}), job({})])) pids.add(value);
        }
        assert.strictEqual(pids.size, 1);
      }),
    );

    it.effect("stream the items of their generators, and return failures", () =>
      Effect.gen(function* () {
        yield* open(
          "async def f(i):\n    await meet(2)\n    for n in range(3):\n        yield {'item': [i, n]}\n        await asyncio.sleep(0)\n    yield {'error': 'enough'}",
        );
        const chunks: Array<Array<string>> = [[], []];
        const outcomes = yield* all(chunks.map((list, i) => job({ i }, { chunks: list })));
        for (const [i, { result, value }] of outcomes.entries()) {
          assert.deepStrictEqual(
            chunks[i],
            [0, 1, 2].map((n) => `{"item": [${i}, ${n}]}`),
          );
          assert.deepInclude(result, { ok: true, failure: "enough" });
          assert.isUndefined(value);
        }
      }),
    );

    it.effect("are cancelled alone", () =>
      Effect.gen(function* () {
        const code = `
async def f(i):
    touch(f"started{i}")
    try:
        await wait_for(f"go{i}")
    except asyncio.CancelledError:
        print("cancelled")
        touch(f"cancelled{i}")
        raise
    return [i, os.getpid()]
`;
        const { folder } = yield* open(code);
        const has = (name: string) => existsSync(join(folder, name));
        const jobs = yield* Effect.all([begun(0), begun(1), begun(2)]);
        yield* eventually(() => [0, 1, 2].every((i) => has(`started${i}`)));
        const [first, second, third] = jobs;
        yield* Fiber.interrupt(second);
        assert.deepStrictEqual(
          [0, 1, 2].map((i) => has(`cancelled${i}`)),
          [false, true, false],
        );
        for (const i of [0, 2, 3]) writeFileSync(join(folder, `go${i}`), "");
        const values = yield* all([Fiber.join(first), Fiber.join(third), job({ i: 3 })]);
        const pids = values.map(({ value }) => JSON.parse(value ?? "")[1]);
        assert.strictEqual(new Set(pids).size, 1);
      }),
    );

    it.effect("are cancelled alone even if their code blocks the event loop", () =>
      Effect.gen(function* () {
        const code = `
async def f(i, blocks=False):
    touch(f"started{i}")
    if blocks:
        time.sleep(600)
    await wait_for(f"go{i}")
    return os.getpid()
`;
        const { folder } = yield* open(code);
        const has = (name: string) => existsSync(join(folder, name));
        const other = yield* begun(0);
        yield* eventually(() => has("started0"));
        const blocking = yield* Effect.forkChild(job({ i: 1, blocks: true }));
        yield* eventually(() => has("started1"));
        const next = yield* begun(2);
        yield* Fiber.interrupt(blocking);
        for (const i of [0, 2]) writeFileSync(join(folder, `go${i}`), "");
        const { value } = yield* Fiber.join(other);
        assert.strictEqual((yield* Fiber.join(next)).value, value);
      }),
    );

    it.effect("finish before a process is replaced whose cancelled job does not stop", () =>
      Effect.gen(function* () {
        const code = `
async def f(i, stubborn=False):
    touch(f"started{i}")
    while stubborn:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
    await wait_for(f"go{i}")
    print("done", i)
    return os.getpid()
`;
        const { folder } = yield* open(code);
        const has = (name: string) => existsSync(join(folder, name));
        const other = yield* Effect.forkChild(job({ i: 0 }));
        const stubborn = yield* Effect.forkChild(job({ i: 1, stubborn: true }));
        yield* eventually(() => has("started0") && has("started1"));
        yield* Fiber.interrupt(stubborn);
        const next = yield* Effect.forkChild(job({ i: 2 }));
        for (const i of [0, 2]) writeFileSync(join(folder, `go${i}`), "");
        const first = yield* Fiber.join(other);
        const second = yield* Fiber.join(next);
        assert.deepStrictEqual([first.output, second.output], ["done 0\n", "done 2\n"]);
        assert.notStrictEqual(first.value, second.value);
      }),
    );

    it.effect("all fail with their own output when their process crashes", () =>
      Effect.gen(function* () {
        const code = `
async def f(i, crash=False):
    print("job", i)
    await meet(3)
    if crash:
        os.kill(os.getpid(), 9)
    await wait_for("never" if i < 3 else "main.py")
    return i
`;
        yield* open(code);
        const failures = yield* all([0, 1, 2].map((i) => Effect.flip(job({ i, crash: i === 1 }))));
        for (const [i, failure] of failures.entries()) {
          assert.deepInclude(failure, {
            _tag: "RunnerCrashed",
            signal: "SIGKILL",
            output: `job ${i}\n`,
          });
        }
        const again = yield* all([3, 4, 5].map((i) => job({ i })));
        assert.deepStrictEqual(
          again.map(({ value }) => value),
          ["3", "4", "5"],
        );
      }),
    );

    it.effect("are not affected by an exit of another", () =>
      Effect.gen(function* () {
        const code = `
async def leave():
    raise SystemExit(3)

async def f(i):
    await meet(3)
    if i == 0: sys.exit(3)
    if i == 1: asyncio.get_running_loop().create_task(leave())
    for _ in range(20): await asyncio.sleep(0)
    return i
`;
        yield* open(code);
        const [exited, ...others] = yield* all([0, 1, 2].map((i) => job({ i })));
        assert.deepInclude(exited?.result.error, {
          kind: "exit",
          message: "the code called sys.exit(3)",
        });
        assert.deepStrictEqual(
          others.map(({ value }) => value),
          ["1", "2"],
        );
      }),
    );
  },
);

layer(realApps({ WORKER_JOB_TIMEOUT: "0.3", WORKER_CANCEL_GRACE: "0.3" }), {
  excludeTestServices: true,
})("jobs of an asynchronous app with a timeout", (it) => {
  it.effect("are stopped alone", () =>
    Effect.gen(function* () {
      const code = `
async def f(kind):
    print("begun")
    while kind == "stubborn":
        with contextlib.suppress(BaseException): time.sleep(600)
    if kind == "blocks": time.sleep(600)
    await asyncio.sleep(600)
`;
      yield* open(code);
      for (const [kind, killed] of [
        ["waits", false],
        ["blocks", false],
        ["stubborn", true],
        ["waits", false],
      ] as const) {
        const failure = yield* Effect.flip(job({ kind }));
        assert.deepInclude(failure, { _tag: "CallTimedOut", killed, output: "begun\n" }, kind);
      }
    }),
  );
});
