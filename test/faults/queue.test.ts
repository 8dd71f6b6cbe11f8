import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Random } from "effect";

import { eventually } from "../support/effects/Waiting.ts";
import { fakeRunPod, type Fault } from "../support/fakes/FakeRunPod.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";
import { descendantsOf, workerProcess } from "../support/processes/WorkerProcess.ts";
import { IS_FULL } from "../support/values/FullLength.ts";
import { functionInput } from "../support/values/JobInputs.ts";

/** An empty file that is deleted at the end of the test. */
const journal = Effect.map(temporaryFolder, (folder) => {
  const file = join(folder, "journal");
  writeFileSync(file, "");
  return { file, lines: () => readFileSync(file, "utf8").split("\n").slice(0, -1) };
});

/** Injects the faults in turn, one in every so many requests. */
const everyNth =
  (every: number, ...kinds: ReadonlyArray<Fault>) =>
  (number: number) =>
    number % every === every - 1 ? kinds[Math.floor(number / every) % kinds.length] : undefined;

const JOBS = IS_FULL ? 1000 : 100;
const KILLS = IS_FULL ? 20 : 4;
const FREEZE = IS_FULL ? "60 seconds" : "2 seconds";
const OUTAGE = IS_FULL ? 60_000 : 3000;

describe("a worker with an unreliable queue service", () => {
  it.live(
    `runs each of ${JOBS} jobs once and loses no result`,
    () =>
      Effect.gen(function* () {
        const service = yield* fakeRunPod({ hold: 500 });
        const ran = yield* journal;
        service.faults(
          "take",
          everyNth(
            9,
            { kind: "status", status: 500, body: "<html>" },
            { kind: "reset" },
            { kind: "cut", body: '{"id": "' },
            { kind: "status", status: 204 },
          ),
        );
        service.faults(
          "done",
          everyNth(
            4,
            { kind: "status", status: 502 },
            { kind: "reset" },
            { kind: "reset", taken: true },
            { kind: "status", status: 429 },
          ),
        );
        service.faults("ping", everyNth(2, { kind: "status", status: 500 }, { kind: "reset" }));
        service.faults("stop", everyNth(3, { kind: "status", status: 500 }));
        yield* workerProcess({ ...service.variables, WORKER_CONCURRENCY: "4" });
        const code = `def f(n):
    with open("${ran.file}", "a") as file:
        file.write("%d\\n" % n)
    return n`;
        const ids = Array.from({ length: JOBS }, (_, n) => {
          const id = service.submit(functionInput(code, [n]));
          // A duplicate delivery while the job may still be running.
          if (n % 10 === 0) service.submit(functionInput("def f(): return 'twice'"), id);
          return id;
        });
        const posted = yield* Effect.forEach(ids, service.result);
        assert.deepStrictEqual(
          posted.flatMap(({ body }) => (body["error"] === undefined ? [] : [body["error"]])),
          [],
        );
        assert.strictEqual(new Set(service.results.map(({ id }) => id)).size, JOBS);
        const runs = ran.lines();
        assert.strictEqual(new Set(runs).size, JOBS);
        assert.lengthOf(runs, JOBS);
      }).pipe(Effect.scoped),
    1_800_000,
  );

  it.live(
    "delivers the results of jobs that finished during an outage",
    () =>
      Effect.gen(function* () {
        const service = yield* fakeRunPod();
        let since = Number.POSITIVE_INFINITY;
        service.faults("done", () =>
          performance.now() - since < OUTAGE ? { kind: "status", status: 503 } : undefined,
        );
        yield* workerProcess(service.variables);
        const ids = [1, 2, 3, 4, 5].map((n) => {
          since = performance.now();
          return service.submit(functionInput("def f(n): return n", [n]));
        });
        const posted = yield* Effect.forEach(ids, service.result);
        assert.deepStrictEqual(
          posted.map(({ body }) => (body["output"] as Record<string, unknown>)["json_result"]),
          [1, 2, 3, 4, 5],
        );
        // The results do not wait for each other.
        const times = posted.map(({ at }) => at);
        assert.isAtLeast(Math.min(...times), since + OUTAGE);
      }).pipe(Effect.scoped),
    600_000,
  );

  it.live(
    `leaves no processes when it is killed (${KILLS} times), and the next worker runs jobs`,
    () =>
      Effect.gen(function* () {
        for (let kill = 0; kill < KILLS; kill += 1) {
          const service = yield* fakeRunPod();
          yield* Effect.gen(function* () {
            const worker = yield* workerProcess(service.variables);
            service.submit(
              functionInput(
                "import time\ndef f():\n    print('begun', flush=True)\n    time.sleep(777)",
              ),
            );
            if (kill % 2 === 0) yield* worker.wrote("begun");
            else yield* service.seen("take", 1);
            yield* Effect.sleep({ milliseconds: yield* Random.nextIntBetween(0, 100) });
            const below = descendantsOf(worker.pid);
            yield* worker.signal("SIGKILL");
            yield* worker.ended;
            yield* eventually(() => below.every((pid) => !existsSync(`/proc/${pid}/cwd`)));
          }).pipe(Effect.scoped);
          const next = yield* fakeRunPod();
          yield* workerProcess(next.variables);
          const { body } = yield* next.result(next.submit(functionInput("def f(): return 1")));
          assert.isUndefined(body["error"]);
        }
      }).pipe(Effect.scoped),
    600_000,
  );

  it.live(
    "polls again soon after it was suspended, and sends no result twice",
    () =>
      Effect.gen(function* () {
        const service = yield* fakeRunPod({ hold: 500 });
        const worker = yield* workerProcess(service.variables);
        yield* service.result(service.submit(functionInput("def f(): return 0")));
        yield* worker.signal("SIGSTOP");
        yield* Effect.sleep(FREEZE);
        const takes = service.requests.filter(({ route }) => route === "take").length;
        yield* worker.signal("SIGCONT");
        const thawed = performance.now();
        yield* service.seen("take", takes + 1);
        assert.isBelow(performance.now() - thawed, IS_FULL ? 5000 : 50_000);
        const ids = [1, 2].map((n) => service.submit(functionInput("def f(n): return n", [n])));
        yield* Effect.forEach(ids, service.result);
        assert.lengthOf(service.results, 3);
      }).pipe(Effect.scoped),
    600_000,
  );

  it.live("runs jobs while its heartbeats fail, and logs only the first failure", () =>
    Effect.gen(function* () {
      const service = yield* fakeRunPod();
      service.faults("ping", () => ({ kind: "status", status: 503 }));
      const worker = yield* workerProcess({ ...service.variables, RUNPOD_PING_INTERVAL: "20" });
      yield* service.seen("ping", 20);
      const ids = Array.from({ length: 20 }, (_, n) =>
        service.submit(functionInput("def f(n): return n", [n])),
      );
      yield* Effect.forEach(ids, service.result);
      const failures = worker.logs().filter(({ message }) => /heartbeat/i.test(message));
      assert.lengthOf(failures, 1);
    }).pipe(Effect.scoped),
  );

  it.live("sends no progress after the result of a very short job", () =>
    Effect.gen(function* () {
      const service = yield* fakeRunPod();
      yield* workerProcess({ ...service.variables, WORKER_PROGRESS: "output" });
      const code = `import time
def f():
    end = time.time() + 2.5
    while time.time() < end:
        print("so far", time.time(), flush=True)
        time.sleep(0.001)`;
      const ids = [1, 2].map(() => service.submit(functionInput(code)));
      const posted = yield* Effect.forEach(ids, service.result);
      assert.isNotEmpty(service.progress);
      for (const { id, at } of posted) {
        const last = service.progress.findLast((one) => one.id === id);
        assert.isBelow(last?.at ?? 0, at);
      }
      assert.isAtMost(service.progress.length, 6);
    }).pipe(Effect.scoped),
  );
});
