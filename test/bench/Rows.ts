import { execFile, execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Effect, FileSystem, Result } from "effect";

import { JobListener, listenerOf } from "../../src/domain/JobEvents.ts";
import { RemoteExecutor } from "../../src/functions/RemoteExecutor.ts";
import { OutputCapture } from "../../src/runner/output/OutputCapture.ts";
import { OutputPipe } from "../../src/runner/output/OutputPipe.ts";
import { Workspace } from "../../src/workspace/Workspace.ts";
import { bareProcess, echoes } from "./Baseline.ts";
import { compare, median, milliseconds, p99, timed } from "./Pairs.ts";

/** A row of the table. */
export interface Row {
  readonly what: string;
  readonly ours: string;
  readonly baseline: string;
  readonly bar: string;
  readonly met: boolean;
}

const nothing = () => {};

const execute = (name: string, code: string, args: ReadonlyArray<string> = []) =>
  Effect.gen(function* () {
    const executor = yield* RemoteExecutor;
    return yield* executor.execute({ function_name: name, function_code: code, args });
  });

const succeeded = Effect.fnUntraced(function* (
  name: string,
  code: string,
  args?: ReadonlyArray<string>,
) {
  const answer = yield* execute(name, code, args);
  if (!answer.success) return yield* Effect.die(answer.error);
  return answer;
});

const TRIVIAL = "def f(): return None";

/** Calls in one timed batch: a single call is too short to measure. */
const BATCH = 50;

export const trivialCall = Effect.gen(function* () {
  const { python } = yield* (yield* Workspace).ready;
  const echo = yield* echoes(python, "echo");
  const call = succeeded("f", TRIVIAL);
  // The frame of the same call, echoed.
  const frame = {
    kind: "function",
    name: "f",
    code: TRIVIAL,
    format: "cloudpickle",
    args: 0,
    kwargs: [],
    modules: {},
    stream: false,
    constructorArgs: 0,
    constructorKwargs: [],
    method: "",
    instanceId: null,
    createNewInstance: false,
  };
  const bare = echo(frame, Buffer.alloc(0));
  const batch = <E, R>(one: Effect.Effect<unknown, E, R>) =>
    timed(
      Effect.gen(function* () {
        for (let turn = 0; turn < BATCH; turn += 1) yield* one;
      }),
    ).pipe(Effect.map((total) => total / BATCH));
  yield* Effect.all([batch(call), batch(bare), batch(call), batch(bare)]);
  const { ours, baseline, pairs } = yield* compare(60, batch(call), batch(bare));
  const single = yield* compare(1000, timed(call), timed(bare));
  const limit = 3 * median(baseline) + 0.1;
  return {
    what: `a call of a trivial function (${pairs} pairs of ${BATCH} calls; p99 of single calls)`,
    ours: `${median(ours).toPrecision(3)} ms (p99 ${p99(single.ours).toPrecision(3)})`,
    baseline: `frame echo ${median(baseline).toPrecision(3)} ms (p99 ${p99(single.baseline).toPrecision(3)})`,
    bar: `3x + 0.1 ms = ${limit.toPrecision(3)} ms`,
    met: median(ours) <= limit,
  } satisfies Row;
}).pipe(Effect.scoped);

export const largePayload = Effect.gen(function* () {
  const { python } = yield* (yield* Workspace).ready;
  const echo = yield* echoes(python, "pickle");
  const pickle = execFileSync(
    python,
    [
      "-c",
      "import os, pickle, sys; sys.stdout.buffer.write(pickle.dumps(os.urandom(10_000_000), 5))",
    ],
    { maxBuffer: 1 << 28 },
  );
  const argument = pickle.toString("base64");
  const call = succeeded("f", "def f(x): return x", [argument]);
  const bare = Effect.suspend(() => echo({}, Buffer.from(argument, "base64")));
  yield* Effect.all([call, bare]);
  const { ours, baseline, pairs } = yield* compare(30, timed(call), timed(bare));
  const ratio = median(ours) / median(baseline);
  return {
    what: `10 MB argument and result (${pairs} pairs)`,
    ours: milliseconds(ours),
    baseline: `base64 + frame echo + pickle ${milliseconds(baseline)}`,
    bar: `1.5x, it is ${ratio.toFixed(2)}x`,
    met: ratio <= 1.5,
  } satisfies Row;
}).pipe(Effect.scoped);

const FLOOD = `import os
def f():
    block = b"x" * 65536
    for _ in range(1600):
        os.write(1, block)
`;
const FLOOD_BYTES = 1600 * 65_536;

const speed = (values: ReadonlyArray<number>) =>
  `${Math.round(FLOOD_BYTES / 1000 / median(values))} MB/s`;

export const flood = Effect.gen(function* () {
  const { python } = yield* (yield* Workspace).ready;
  const files = yield* FileSystem.FileSystem;
  const path = join(yield* files.makeTempDirectoryScoped(), "pipe");
  let received = 0;
  let finished = nothing;
  let capture = new OutputCapture(1024 * 1024);
  const control = yield* bareProcess(python, ["flood", path]);
  yield* Effect.callback<void>((done) => {
    control.once("data", () => done(Effect.void));
  });
  control.resume();
  const pipe = Result.getOrThrow(
    OutputPipe.attach(path, (bytes) => {
      capture.write(bytes);
      received += bytes.byteLength;
      if (received === FLOOD_BYTES) finished();
    }),
  );
  const bare = Effect.callback<void>((done) => {
    received = 0;
    capture = new OutputCapture(1024 * 1024);
    finished = () => {
      capture.text();
      done(Effect.void);
    };
    control.write(".");
  });
  // With a listener, as in every use of the worker.
  const call = succeeded("f", FLOOD).pipe(
    Effect.provideService(JobListener, listenerOf({ OutputWritten: () => {} })),
  );
  yield* Effect.all([call, bare]);
  const { ours, baseline, pairs } = yield* compare(30, timed(call), timed(bare));
  pipe.close();
  const share = median(baseline) / median(ours);
  return {
    what: `100 MB flood by os.write (${pairs} pairs)`,
    ours: `${speed(ours)} (p99 ${p99(ours).toPrecision(3)} ms)`,
    baseline: `a pipe into a bounded buffer ${speed(baseline)}`,
    bar: `half the speed, it is ${share.toFixed(2)}`,
    met: share >= 0.5,
  } satisfies Row;
}).pipe(Effect.scoped);

export const residentMegabytes = (pid: number | "self") => {
  const pages = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(pages) / 1024;
};

const show = (value: number) => `${value >= 0 ? "+" : ""}${value.toFixed(1)} MB`;

export const memory = Effect.gen(function* () {
  const { result } = yield* succeeded("f", "import os\ndef f(): return os.getpid()");
  const pid = Number(
    /\d{2,}/.exec(
      execFileSync(
        "python3",
        ["-c", `import base64, pickle; print(pickle.loads(base64.b64decode("${result}")))`],
        { encoding: "utf8" },
      ),
    )?.[0],
  );
  const measure = Effect.sync(() => {
    globalThis.gc?.();
    return { node: residentMegabytes("self"), python: residentMegabytes(pid) };
  });
  const calls = (times: number) => Effect.repeat(succeeded("f", TRIVIAL), { times: times - 1 });
  yield* calls(2000);
  const before = yield* measure;
  yield* calls(8000);
  const after = yield* measure;
  const grown = (kind: "node" | "python") => after[kind] - before[kind];
  return {
    what: "memory from the 2,000th to the 10,000th call",
    ours: `Python ${show(grown("python"))}, Node ${show(grown("node"))}`,
    baseline: `${before.python.toFixed(0)} MB and ${before.node.toFixed(0)} MB`,
    bar: "flat: below 2 MB and 10 MB more",
    met: grown("python") < 2 && grown("node") < 10,
  } satisfies Row;
});

export const crash = Effect.gen(function* () {
  const { python } = yield* (yield* Workspace).ready;
  const recovery = Effect.gen(function* () {
    yield* execute("f", "import os\ndef f(): os._exit(1)");
    return yield* timed(succeeded("f", TRIVIAL));
  });
  const bare = timed(
    Effect.callback<void>((done) => {
      execFile(python, ["-c", "import cloudpickle"], () => done(Effect.void));
    }),
  );
  yield* Effect.all([recovery, bare]);
  const { ours, baseline, pairs } = yield* compare(30, recovery, bare);
  const ratio = median(ours) / median(baseline);
  return {
    what: `crash to the next response (${pairs} pairs)`,
    ours: milliseconds(ours),
    baseline: `python -c "import cloudpickle" ${milliseconds(baseline)}`,
    bar: `1.5x, it is ${ratio.toFixed(2)}x`,
    met: ratio <= 1.5,
  } satisfies Row;
});
