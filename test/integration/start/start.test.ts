import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { eventually } from "../../support/effects/Waiting.ts";
import { fakeRunPod, type FakeRunPodOptions } from "../../support/fakes/FakeRunPod.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { descendantsOf, workerProcess } from "../../support/processes/WorkerProcess.ts";
import { functionInput, methodInput } from "../../support/values/JobInputs.ts";

const hello = JSON.parse(readFileSync("fixtures/hello_world.json", "utf8")).input;

/** A stand-in of RunPod, and a worker in a separate process. */
const deployed = Effect.fnUntraced(function* (
  variables: Readonly<Record<string, string>> = {},
  options: FakeRunPodOptions = {},
) {
  const service = yield* fakeRunPod(options);
  const worker = yield* workerProcess({ ...service.variables, ...variables });
  return { service, worker };
});

const output = (posted: { readonly body: Readonly<Record<string, unknown>> }) =>
  posted.body["output"] as Record<string, unknown>;

const job = (code: string) => JSON.stringify({ input: functionInput(code) });
const once = (variables: Readonly<Record<string, string>>, ...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const worker = yield* workerProcess(variables, ["start", ...args]);
    const { code } = yield* worker.ended;
    return { code, stdout: worker.stdout(), stderr: worker.stderr() };
  }).pipe(Effect.scoped);

/** A call of an instance that counts. */
const add = (instance: string) =>
  methodInput(
    "class C:\n    n = 0\n    def add(self):\n        self.n += 1\n        return self.n",
    "C",
    instance,
    "add",
  );

describe("start", () => {
  it.live("runs jobs of the queue in Python and writes their output unchanged", () =>
    Effect.gen(function* () {
      const { service, worker } = yield* deployed();
      const first = yield* service.result(service.submit(hello));
      assert.strictEqual(output(first)["success"], true);
      assert.isUndefined(first.body["error"]);
      assert.include(worker.stdout(), `${output(first)["stdout"]}`);
      const failing = yield* service.result(
        service.submit(functionInput("def f():\n    raise ValueError('no way')")),
      );
      assert.match(String(failing.body["error"]), /^ValueError: no way\n\nTraceback/);
      const crashing = yield* service.result(
        service.submit(
          functionInput("import os\ndef f():\n    print('bye', flush=True)\n    os._exit(3)"),
        ),
      );
      assert.include(String(crashing.body["error"]), "exit code 3");
      assert.strictEqual(output(crashing)["stdout"], "bye\n");
      const next = yield* service.result(
        service.submit(functionInput("def f(x): return x + 1", [41])),
      );
      assert.strictEqual(output(next)["json_result"], 42);
      const done = worker.logs().filter(({ message }) => /^Job (done|failed) /.test(message));
      assert.deepStrictEqual(
        done.map(({ requestId }) => requestId),
        ["job-1", "job-2", "job-3", "job-4"],
      );
      assert.deepStrictEqual(
        worker.logs().flatMap(({ requestId, message }) => {
          const [, reason] = /^Job failed after [\d.]+ s: (.*)$/.exec(message) ?? [];
          return reason === undefined ? [] : [`${requestId}: ${reason.slice(0, 30)}`];
        }),
        ["job-2: ValueError: no way", "job-3: The Python process ended with "],
      );
      assert.notInclude(worker.stderr() + worker.stdout(), "key-of-the-worker-itself");
    }).pipe(Effect.scoped),
  );

  it.live("fails jobs that are not function requests, with the reason", () =>
    Effect.gen(function* () {
      const { service } = yield* deployed();
      const errorOf = (input: unknown) =>
        Effect.map(service.result(service.submit(input)), ({ body }) => String(body["error"]));
      assert.include(yield* errorOf(undefined), "has no input");
      assert.include(yield* errorOf({ function_name: "f" }), "flash deploy");
      assert.include(yield* errorOf({ execution_type: "script" }), "execution_type");
      assert.include(yield* errorOf("text"), "expected an object");
    }).pipe(Effect.scoped),
  );

  it.live("streams the values of a generator and returns all of them", () =>
    Effect.gen(function* () {
      const { service } = yield* deployed();
      const id = service.submit(functionInput("def f():\n    for n in range(3):\n        yield n"));
      const posted = yield* service.result(id);
      assert.deepStrictEqual(output(posted)["json_result"], [0, 1, 2]);
      assert.strictEqual(posted.isStream, "true");
      assert.deepStrictEqual(
        service.chunks(id).map((chunk) => (chunk as Record<string, unknown>)["json_result"]),
        [0, 1, 2],
      );
    }).pipe(Effect.scoped),
  );

  it.live(
    "runs jobs concurrently, each with its own output, and routes calls to the process of their instance",
    () =>
      Effect.gen(function* () {
        const { service } = yield* deployed({ WORKER_CONCURRENCY: "3" });
        // Each waits until all three have begun.
        const folder = yield* temporaryFolder;
        const code = `import os, time
def f(n):
    open(os.path.join("${folder}", str(n)), "w").close()
    while len(os.listdir("${folder}")) < 3:
        time.sleep(0.01)
    for i in range(200):
        print("job", n)
    return os.getpid()`;
        const ids = [1, 2, 3].map((n) => service.submit(functionInput(code, [n])));
        const posted = yield* Effect.forEach(ids, service.result);
        assert.strictEqual(new Set(posted.map((one) => output(one)["json_result"])).size, 3);
        for (const [index, one] of posted.entries()) {
          assert.strictEqual(output(one)["stdout"], `job ${index + 1}\n`.repeat(200));
        }
        const calls = Array.from({ length: 12 }, (_, index) =>
          service.submit(add(`C_${index % 4}`)),
        );
        const counts = yield* Effect.forEach(calls, service.result);
        assert.sameMembers(
          counts.map((one) => output(one)["json_result"]),
          [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3],
        );
      }).pipe(Effect.scoped),
  );

  it.live("stops a job with all its child processes and runs the next job", () =>
    Effect.gen(function* () {
      const { service, worker } = yield* deployed({ WORKER_CANCEL_GRACE: "0.5" });
      yield* service.result(service.submit(hello));
      const deaf = `import signal, subprocess, time
def f():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    subprocess.Popen(["sleep", "777"])
    print("begun", flush=True)
    time.sleep(777)`;
      const id = service.submit(functionInput(deaf));
      yield* worker.wrote("begun");
      const before = descendantsOf(worker.pid);
      service.stop(id);
      const next = yield* service.result(service.submit(hello));
      assert.strictEqual(output(next)["success"], true);
      assert.isEmpty(before.filter((pid) => existsSync(`/proc/${pid}/cwd`)));
      assert.notInclude(
        service.results.map((one) => one.id),
        id,
      );
    }).pipe(Effect.scoped),
  );

  describe("at SIGTERM", () => {
    it.live("exits at once while it waits for jobs", () =>
      Effect.gen(function* () {
        const { service, worker } = yield* deployed({}, { hold: 90_000 });
        yield* service.seen("take", 1);
        yield* service.seen("stop", 1);
        yield* worker.signal("SIGTERM");
        assert.deepStrictEqual(yield* Effect.timeout(worker.ended, "10 seconds"), {
          code: 0,
          signal: null,
        });
        const said = worker.logs().map(({ message }) => message);
        assert.match(
          said[0] ?? "",
          /^worker-tetra [\d.]+ started for endpoint tests, 1 job at a time/,
        );
        assert.isTrue(
          said.some((line) => /^Ready: taking jobs from http:\/\/127[\d.:]+$/.test(line)),
        );
        assert.match(said.at(-1) ?? "", /^Worker stopped \(shutdown requested\): 0 jobs done/);
      }).pipe(Effect.scoped),
    );

    it.live("finishes and reports its job, with heartbeats until then", () =>
      Effect.gen(function* () {
        const { service, worker } = yield* deployed();
        const id = service.submit(
          functionInput(
            "import time\ndef f():\n    print('begun', flush=True)\n    time.sleep(1.5)\n    return 7",
          ),
        );
        yield* worker.wrote("begun");
        yield* worker.signal("SIGTERM");
        const pings = service.pings.length;
        const posted = yield* service.result(id);
        assert.strictEqual(output(posted)["json_result"], 7);
        assert.deepStrictEqual((yield* worker.ended).code, 0);
        const late = service.pings.slice(pings);
        assert.isAtLeast(late.length, 2);
        assert.isTrue(late.some(({ ids }) => ids.includes(id)));
      }).pipe(Effect.scoped),
    );

    it.live("reports a job as failed that does not end within the grace period", () =>
      Effect.gen(function* () {
        const { service, worker } = yield* deployed({
          WORKER_SHUTDOWN_GRACE: "0.3",
          WORKER_CANCEL_GRACE: "0.3",
        });
        const id = service.submit(
          functionInput(
            "import time\ndef f():\n    print('begun', flush=True)\n    time.sleep(777)",
          ),
        );
        yield* worker.wrote("begun");
        yield* worker.signal("SIGTERM");
        const { body } = yield* service.result(id);
        assert.include(String(body["error"]), "The worker was shut down");
        assert.strictEqual((yield* worker.ended).code, 0);
      }).pipe(Effect.scoped),
    );

    it.live("exits at once at a second signal, and leaves no process behind", () =>
      Effect.gen(function* () {
        const { service, worker } = yield* deployed();
        service.submit(
          functionInput(
            "import time\ndef f():\n    print('begun', flush=True)\n    time.sleep(777)",
          ),
        );
        yield* worker.wrote("begun");
        const below = descendantsOf(worker.pid);
        assert.isNotEmpty(below);
        yield* worker.signal("SIGTERM");
        yield* worker.wrote("Draining: waiting");
        yield* worker.signal("SIGTERM");
        assert.strictEqual((yield* worker.ended).code, 143);
        yield* eventually(() => below.every((pid) => !existsSync(`/proc/${pid}/cwd`)));
      }).pipe(Effect.scoped),
    );
  });

  it.live("continues after it was frozen, and sends no result twice", () =>
    Effect.gen(function* () {
      const { service, worker } = yield* deployed({}, { hold: 300 });
      yield* service.result(service.submit(hello));
      yield* worker.signal("SIGSTOP");
      const id = service.submit(functionInput("def f(): return 1"));
      yield* service.seen("take", service.requests.filter(({ route }) => route === "take").length);
      yield* worker.signal("SIGCONT");
      yield* service.result(id);
      assert.lengthOf(service.results, 2);
    }).pipe(Effect.scoped),
  );

  it.live("reports an unhealthy worker and exits when there is no Python", () =>
    Effect.gen(function* () {
      const { service, worker } = yield* deployed({ WORKER_PYTHON: "/no/such/python" });
      assert.strictEqual((yield* worker.ended).code, 1);
      assert.include(worker.stderr(), "No usable Python");
      const [ping] = service.pings;
      assert.strictEqual(ping?.query.get("status"), "unhealthy");
      assert.strictEqual(ping?.query.get("check"), "python");
      assert.isEmpty(service.requests.filter(({ route }) => route === "take"));
    }).pipe(Effect.scoped),
  );

  it.live.each([
    ["GPU", { WORKER_REQUIRE_GPU: "true", PATH: "/usr/bin:/bin" }, "nvidia-smi"],
    ["memory", { RUNPOD_MIN_MEMORY_GB: "1000000" }, "GB of memory"],
    ["disk space", { RUNPOD_MIN_DISK_PERCENT: "101" }, "percent of the container's disk"],
  ] as const)("refuses to start without the required %s", ([, variables, words]) =>
    Effect.gen(function* () {
      const { worker } = yield* deployed(variables);
      assert.strictEqual((yield* worker.ended).code, 1);
      assert.include(worker.stderr(), words);
    }).pipe(Effect.scoped),
  );

  it.live("exits when nvidia-smi lists a GPU that CUDA can't use", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      writeFileSync(join(folder, "nvidia-smi"), "#!/bin/sh\necho 'GPU 0: Test'\n", { mode: 0o755 });
      // A driver that is none.
      writeFileSync(join(folder, "libcuda.so.1"), "");
      const { service, worker } = yield* deployed({
        WORKER_REQUIRE_GPU: "true",
        PATH: `${folder}:${process.env["PATH"]}`,
        LD_LIBRARY_PATH: folder,
      });
      assert.strictEqual((yield* worker.ended).code, 1);
      assert.include(worker.stderr(), "the GPU can't be used");
      assert.isTrue(service.pings.some(({ query }) => query.get("check") === "gpu"));
    }).pipe(Effect.scoped),
  );

  describe("without a queue", () => {
    it.live("runs the job of --test_input", () =>
      Effect.gen(function* () {
        const good = yield* once(
          {},
          "--test_input",
          job("def f():\n    print('hi')\n    return 1"),
        );
        assert.strictEqual(good.code, 0);
        const [printed, answer = ""] = good.stdout.trim().split("\n");
        assert.strictEqual(printed, "hi");
        assert.deepInclude(JSON.parse(answer), { success: true, json_result: 1 });
      }),
    );

    it.live("runs the job of RUNPOD_TEST_INPUT and exits with 1 when it fails", () =>
      Effect.gen(function* () {
        const bad = yield* once({ RUNPOD_TEST_INPUT: job("def f(): raise KeyError(1)") });
        assert.strictEqual(bad.code, 1);
        assert.include(bad.stdout, "KeyError");
      }),
    );

    it.live.each([
      ["no job at all", {}, "There is no queue"],
      ["a job without input", { RUNPOD_TEST_INPUT: "{}" }, "has no "],
      ["no JSON", { RUNPOD_TEST_INPUT: "{" }, "not a valid job"],
      [
        "a job that is too complex",
        { RUNPOD_TEST_INPUT: `{"input":${"[".repeat(50_000)}${"]".repeat(50_000)}}` },
        "nested deeper than 100 levels",
      ],
    ] as const)("exits with an error for %s", ([, variables, words]) =>
      Effect.gen(function* () {
        const { code, stderr } = yield* once(variables);
        assert.strictEqual(code, 1);
        assert.include(stderr, words);
      }),
    );
  });
});
