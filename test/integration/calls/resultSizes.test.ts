import { readFileSync } from "node:fs";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { fakeRunPod } from "../../support/fakes/FakeRunPod.ts";
import { ask } from "../../support/http/HttpRequest.ts";
import { serveProcess } from "../../support/processes/Serve.ts";
import { workerProcess } from "../../support/processes/WorkerProcess.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

const MIB = 1024 * 1024;

// The results must be large: the tests measure their share of the process's memory, and small ones would be lost in the
// noise.

/** The input of a job whose result is a pickle. */
const request = (code: string, more: Readonly<Record<string, unknown>> = {}) =>
  functionInput(code, [], { serialization_format: "cloudpickle", ...more });

const deployed = Effect.fnUntraced(function* (variables: Readonly<Record<string, string>> = {}) {
  const service = yield* fakeRunPod();
  const worker = yield* workerProcess({ ...service.variables, ...variables });
  return { service, worker };
});

const output = ({ body }: { readonly body: Readonly<Record<string, unknown>> }) =>
  body["output"] as Record<string, unknown>;

const randomBytes = (size: number) => `import os\ndef f(): return os.urandom(${size})`;

const texts = (size: number) => `def f(): return ["x" * ${size}]`;

/** The peak memory of a process so far, in bytes. */
const peakOf = (pid: number): number => {
  const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kilobytes) * 1024;
};

describe("a large result over HTTP", () => {
  it.live("of 12 MB of bytes arrives and takes less than 2.5 times its size in memory", () =>
    Effect.gen(function* () {
      const { service, worker } = yield* deployed();
      // Small results first, so that memory for code and connections is not counted.
      for (const size of [1000, 1_000_000]) {
        yield* service.result(service.submit(request(randomBytes(size))));
      }
      const before = peakOf(worker.pid);
      const size = 12_000_000;
      const posted = yield* service.result(service.submit(request(randomBytes(size))));
      assert.isUndefined(posted.body["error"]);
      const pickle = Buffer.from(String(output(posted)["result"]), "base64");
      assert.isAtLeast(pickle.byteLength, size);
      assert.isAtMost(posted.text.length, 20 * MIB);
      const times = (peakOf(worker.pid) - before) / size;
      assert.isBelow(times, 2.5);
    }).pipe(Effect.scoped),
  );

  it.live("of 20 MB of JSON arrives and takes less than 2.5 times its size in memory", () =>
    Effect.gen(function* () {
      const { service, worker } = yield* deployed();
      const json = { serialization_format: "json" };
      yield* service.result(service.submit(request(texts(1000), json)));
      const before = peakOf(worker.pid);
      const size = 20_000_000;
      const posted = yield* service.result(service.submit(request(texts(size), json)));
      assert.deepStrictEqual(output(posted)["json_result"], ["x".repeat(size)]);
      assert.isBelow((peakOf(worker.pid) - before) / size, 2.5);
    }).pipe(Effect.scoped),
  );

  it.live("of 12 MB from serve takes less than 3 times its size in memory", () =>
    Effect.gen(function* () {
      const { pid, port } = yield* serveProcess();
      const runSync = (size: number) =>
        ask(port, "/runsync", { body: JSON.stringify({ input: request(randomBytes(size)) }) });
      for (const size of [1000, 1_000_000]) yield* runSync(size);
      const before = peakOf(pid);
      const size = 12_000_000;
      const { text } = yield* runSync(size);
      assert.isAbove(text.length, size);
      // One more copy, as base64, would be 1.3 times its size. When V8 frees the first ones depends on the size of the
      // heap.
      assert.isBelow((peakOf(pid) - before) / size, 3);
    }).pipe(Effect.scoped),
  );

  it.live("of 384 MiB fails its job without using that memory, and other jobs continue", () =>
    Effect.gen(function* () {
      const { service, worker } = yield* deployed({ WORKER_CONCURRENCY: "2" });
      yield* service.result(service.submit(request("def f(): return 1")));
      const before = peakOf(worker.pid);
      const other = service.submit(
        request("import time\ndef f():\n    time.sleep(3)\n    return 'done'", {
          serialization_format: "json",
        }),
      );
      const large = "bytes(384 * 2**20)";
      for (const code of [
        `def f(): return ${large}`,
        `def f():\n    yield 1\n    yield ${large}`,
        `async def f():\n    yield 1\n    yield ${large}`,
      ]) {
        const posted = yield* service.result(service.submit(request(code)));
        assert.include(String(posted.body["error"]), "384.0 MiB");
        assert.include(String(posted.body["error"]), "WORKER_RESULT_LIMIT");
        assert.isUndefined(output(posted)["error"]);
      }
      const forge = readFileSync("test/support/python/forge.py", "utf8");
      const forged = yield* service.result(
        service.submit(
          request(
            `${forge}\ndef f():\n    write(struct.pack('<IBxxxI', 3_300_000_000, RESULT, call_id()))\n    time.sleep(60)`,
          ),
        ),
      );
      assert.include(String(forged.body["error"]), "control channel");
      assert.strictEqual(output(yield* service.result(other))["json_result"], "done");
      assert.isBelow(peakOf(worker.pid) - before, 64 * MIB);
    }).pipe(Effect.scoped),
  );
});
