import { readdirSync, readFileSync } from "node:fs";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { RemoteExecutor } from "../../src/functions/RemoteExecutor.ts";
import { call, callMethod, realWorker } from "../support/processes/RealWorker.ts";
import { descendantsOf } from "../support/processes/WorkerProcess.ts";
import { IS_FULL } from "../support/values/FullLength.ts";

/** Rounds of jobs of every kind; after the first third, memory must not grow. */
const ROUNDS = IS_FULL ? 6000 : 150;

const MB = 1024 * 1024;

const COUNTER = `class Counter:
    def __init__(self):
        self.n = 0
    def add(self, n):
        self.n += n
        return self.n`;

/** The resident memory of the Python child processes, in bytes. */
const pythonMemory = () =>
  descendantsOf(process.pid)
    .map((pid) => {
      try {
        return /tetra_runner/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8"))
          ? Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * 4096
          : 0;
      } catch {
        // The process has ended meanwhile.
        return 0;
      }
    })
    .reduce((sum, bytes) => sum + bytes, 0);

const descriptors = () => readdirSync("/proc/self/fd").length;

describe("a worker that runs many jobs", () => {
  it.live(
    "leaks neither memory nor file descriptors",
    () =>
      Effect.gen(function* () {
        const executor = yield* RemoteExecutor;
        let count = 0;
        const round = Effect.gen(function* () {
          count += 1;
          const text = yield* call("def f(n):\n    print('x' * 1000)\n    return n", "f", [count]);
          assert.strictEqual(text.json_result, count);
          assert.isFalse((yield* call("def f():\n    return 1 / 0", "f")).success);
          const big = yield* call("def f(n):\n    return 'y' * n", "f", [100_000]);
          assert.lengthOf(String(big.json_result), 100_000);
          const kept = yield* callMethod(COUNTER, "Counter", "Counter_1", "add", [1]);
          assert.strictEqual(kept.json_result, count);
          // An instance that is not used again.
          yield* callMethod(COUNTER, "Counter", `Counter_${count}_`, "add", [1]);
          assert.isFalse((yield* executor.execute({ function_name: "f" })).success);
        });
        yield* Effect.repeat(round, { times: Math.ceil(ROUNDS / 3) });
        const before = {
          memory: pythonMemory(),
          heap: process.memoryUsage().rss,
          open: descriptors(),
        };
        assert.isAbove(before.memory, 0);
        yield* Effect.repeat(round, { times: Math.ceil((2 * ROUNDS) / 3) });
        assert.isBelow(pythonMemory() - before.memory, 20 * MB, "Python's memory grew");
        assert.isBelow(process.memoryUsage().rss - before.heap, 200 * MB, "Node's memory grew");
        assert.isAtMost(descriptors(), before.open + 2);
      }).pipe(Effect.provide(realWorker())),
    IS_FULL ? 1_200_000 : 120_000,
  );
});
