import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Fiber } from "effect";
import runpodSdk from "runpod-sdk";

import manifest from "../../../package.json" with { type: "json" };
import { eventually, poll } from "../../support/effects/Waiting.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { ask } from "../../support/http/HttpRequest.ts";
import { runCommandLine, startCommandLine } from "../../support/processes/CommandLineRun.ts";
import { realEnvironment } from "../../support/processes/RealWorker.ts";
import { serveProcess, serveInProcess } from "../../support/processes/Serve.ts";
import { workerProcess } from "../../support/processes/WorkerProcess.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

const HELLO = functionInput("def f(name):\n    print('for', name)\n    return f'Hello {name}'", [
  "you",
]);

const LARGE = functionInput("def f(): return 'x' * 200_000");
const TOO_LARGE = "WORKER_RESULT_LIMIT allows at most 97.7 KiB";

/** Prints a line and then does nothing for long. */
const LONG = functionInput("import time\ndef f():\n    print('begun')\n    time.sleep(100)");

const text = (value: unknown): Readonly<Record<string, unknown>> =>
  value as Readonly<Record<string, unknown>>;

const submit = Effect.fnUntraced(function* (port: number, of: unknown) {
  const answer = yield* ask(port, "/run", { body: { input: of } });
  return String(text(answer.json)["id"]);
});

const viewOf = (port: number, id: string) =>
  Effect.map(ask(port, `/status/${id}`), ({ json }) => text(json));

/** Looks at a job until something is so of it. */
const jobIs = (
  port: number,
  id: string,
  isSo: (view: Readonly<Record<string, unknown>>) => boolean,
) => poll(viewOf(port, id), isSo);

const inState = (status: string) => (view: Readonly<Record<string, unknown>>) =>
  view["status"] === status;

/** Waits until a command line in this process listens on so many ports; returns the last of them. */
const listening = Effect.fnUntraced(function* (
  { logs }: Effect.Success<ReturnType<typeof startCommandLine>>,
  count = 1,
) {
  const ports = () =>
    [
      ...logs
        .notices()
        .join("\n")
        .matchAll(/Listening on 0\.0\.0\.0:(\d+)/g),
    ].map(([, port]) => Number(port));
  yield* logs.until(() => ports().length >= count);
  return ports()[count - 1] ?? 0;
});

const ready = (port: number) => poll(ask(port, "/ping"), ({ status }) => status === 200);

describe("serve", () => {
  it.live("works with the JavaScript SDK of RunPod", () =>
    Effect.gen(function* () {
      const { url } = yield* serveInProcess();
      const endpoint = runpodSdk("local", { baseUrl: `${url}/v2` }).endpoint("any");
      if (endpoint === null) return assert.fail("the SDK has no endpoint");

      const sync = yield* Effect.promise(() => endpoint.runSync({ input: HELLO }));
      assert.deepInclude(text(sync), { status: "COMPLETED", completed: true, succeeded: true });
      assert.deepInclude(sync.output, {
        success: true,
        json_result: "Hello you",
        stdout: "for you\n",
      });

      const generator = functionInput(
        "def f(n):\n    for i in range(n):\n        yield i * i",
        [4],
      );
      const { id } = yield* Effect.promise(() => endpoint.run({ input: generator }));
      const values = yield* Effect.promise(async () => {
        const found = [];
        for await (const { output } of endpoint.stream(id)) found.push(output.json_result);
        return found;
      });
      assert.deepStrictEqual(values, [0, 1, 4, 9]);
      const done = yield* Effect.promise(() => endpoint.status(id));
      assert.deepNestedInclude(done, { status: "COMPLETED", "output.json_result": [0, 1, 4, 9] });

      const failing = functionInput("def f():\n    return 1 / 0");
      const failed = yield* Effect.promise(() => endpoint.runSync({ input: failing }));
      assert.strictEqual(failed.status, "FAILED");
      assert.match(String(text(failed)["error"]), /^ZeroDivisionError: division by zero\n/);

      const long = yield* Effect.promise(() => endpoint.run({ input: LONG }));
      assert.strictEqual(
        (yield* Effect.promise(() => endpoint.cancel(long.id))).status,
        "CANCELLED",
      );
      const health = yield* Effect.promise(() => endpoint.health());
      assert.deepInclude(health.jobs, { completed: 2, failed: 1, inQueue: 0 });
      assert.deepStrictEqual(yield* Effect.promise(() => endpoint.purgeQueue()), {
        removed: 0,
        status: "completed",
      });
    }).pipe(Effect.scoped),
  );

  it.live("shows the progress of a job, cancels it, and runs the next job", () =>
    Effect.gen(function* () {
      const { port } = yield* serveInProcess(["--concurrency", "1"]);
      const id = yield* submit(port, LONG);
      const running = yield* jobIs(port, id, (view) =>
        JSON.stringify(view["output"] ?? "").includes("begun"),
      );
      assert.strictEqual(running["status"], "IN_PROGRESS");
      assert.deepStrictEqual(running["output"], { stage: "running", output: "begun\n" });
      assert.isAbove(Number(running["executionTime"]), 500);
      assert.strictEqual((yield* ask(port, "/ping")).status, 200);

      const next = yield* submit(port, HELLO);
      const cancelled = yield* ask(port, `/cancel/${id}`, { method: "POST" });
      assert.strictEqual(text(cancelled.json)["status"], "CANCELLED");
      const done = yield* jobIs(port, next, inState("COMPLETED"));
      assert.deepNestedInclude(done, { "output.json_result": "Hello you" });
    }).pipe(Effect.scoped),
  );

  it.live("stops a job at the execution timeout of its policy", () =>
    Effect.gen(function* () {
      const { port } = yield* serveInProcess(["--concurrency", "1"]);
      const slow = yield* ask(port, "/run", {
        body: { input: LONG, policy: { executionTimeout: 1000 } },
      });
      const after = yield* submit(port, HELLO);
      const view = yield* jobIs(port, String(text(slow.json)["id"]), inState("TIMED_OUT"));
      assert.include(String(view["error"]), "executionTimeout");
      yield* jobIs(port, after, inState("COMPLETED"));
    }).pipe(Effect.scoped),
  );

  it.live("retries a failed job under the same id", () =>
    Effect.gen(function* () {
      const marker = `${yield* temporaryFolder}/marker`;
      const { port } = yield* serveInProcess();
      const once = functionInput("def f(path):\n    open(path)\n    return 'there'", [marker]);
      const id = yield* submit(port, once);
      const failed = yield* jobIs(port, id, inState("FAILED"));
      assert.include(String(failed["error"]), "FileNotFoundError");
      writeFileSync(marker, "");
      yield* ask(port, `/v2/any/retry/${id}`, { method: "POST" });
      const done = yield* jobIs(port, id, inState("COMPLETED"));
      assert.deepNestedInclude(done, { retries: 1, "output.json_result": "there" });
      assert.notProperty(done, "error");
    }).pipe(Effect.scoped),
  );

  it.live("drains at SIGTERM, and logs the number of cancelled jobs", () =>
    Effect.gen(function* () {
      const worker = yield* serveInProcess(["--concurrency", "1"]);
      const { port } = worker;
      const short = functionInput("import time\ndef f():\n    time.sleep(1.5)\n    return 'whole'");
      const waiting = yield* Effect.forkChild(ask(port, "/runsync", { body: { input: short } }));
      yield* poll(ask(port, "/health"), ({ text: body }) => body.includes('"inProgress":1'));
      yield* submit(port, HELLO);
      yield* worker.signal;
      const answer = yield* Fiber.join(waiting);
      assert.deepNestedInclude(text(answer.json), { "output.json_result": "whole" });
      assert.strictEqual(yield* worker.ended, 0);
      assert.include(worker.logs.warnings(), "Cancelled 1 queued jobs");
    }).pipe(Effect.scoped),
  );

  it.live.each(["SIGKILL", "SIGTERM"] as const)("with --keep loses no job at %s", (signal) =>
    Effect.gen(function* () {
      const folder = `${yield* temporaryFolder}/jobs`;
      const marker = `${folder}.marker`;
      const args = ["--concurrency", "1", "--keep", folder];
      const first = yield* serveProcess(args);
      // Endless at its first run, done at its second.
      const twice = functionInput(
        "import os, time\ndef f(path):\n    if os.path.exists(path): return 'second run'\n    open(path, 'w').close()\n    time.sleep(100)",
        [marker],
      );
      const done = yield* submit(first.port, HELLO);
      yield* jobIs(first.port, done, inState("COMPLETED"));
      const running = yield* submit(first.port, twice);
      const waiting = yield* submit(first.port, HELLO);
      yield* eventually(() => existsSync(marker));
      yield* first.signal(signal);
      yield* first.ended;

      const second = yield* serveProcess(args);
      const again = yield* jobIs(second.port, running, inState("COMPLETED"));
      assert.deepNestedInclude(again, { "output.json_result": "second run" });
      yield* jobIs(second.port, waiting, inState("COMPLETED"));
      assert.deepNestedInclude(yield* viewOf(second.port, done), {
        status: "COMPLETED",
        "output.json_result": "Hello you",
      });
    }).pipe(Effect.scoped),
  );

  it.live("with --keep refuses a folder in use, and a database that is a named pipe", () =>
    Effect.gen(function* () {
      const parent = yield* temporaryFolder;
      const args = ["serve", "--port", "0", "--keep"];
      yield* serveProcess(["--keep", `${parent}/used`]);
      const second = yield* runCommandLine([...args, `${parent}/used`], realEnvironment());
      assert.strictEqual(second.code, 2);
      assert.include(second.stderr, `${parent}/used/jobs.sqlite: it is in use by another server`);
      mkdirSync(`${parent}/pipe`);
      execFileSync("mkfifo", [`${parent}/pipe/jobs.sqlite`]);
      const blocked = yield* runCommandLine([...args, `${parent}/pipe`], realEnvironment());
      assert.strictEqual(blocked.code, 2);
      assert.include(blocked.stderr, "not a regular file of this user");
    }).pipe(Effect.scoped),
  );

  it.live("in development restarts when its sources change, and keeps its jobs", () =>
    Effect.gen(function* () {
      const folder = `${yield* temporaryFolder}/jobs`;
      const worker = yield* workerProcess(
        {},
        ["--port", "0", "--concurrency", "1"],
        manifest.scripts.dev.replace(".jobs", folder),
      );
      const ports = () =>
        [...worker.stderr().matchAll(/on http:\/\/[^ ]+:(\d+)/g)].map(([, port]) => Number(port));
      yield* eventually(() => ports().length === 1);
      const [before = 0] = ports();
      const running = yield* submit(before, LONG);
      const waiting = yield* submit(before, HELLO);
      yield* worker.wrote("begun");
      const source = fileURLToPath(new URL("../../../src/cli/commands/serve.ts", import.meta.url));
      utimesSync(source, new Date(), new Date());
      yield* eventually(() => ports().length === 2);
      const [, after = 0] = ports();
      yield* jobIs(after, running, inState("IN_PROGRESS"));
      yield* ask(after, `/cancel/${running}`, { method: "POST" });
      yield* jobIs(after, waiting, inState("COMPLETED"));
      yield* worker.signal("SIGTERM");
      yield* worker.ended;
    }).pipe(Effect.scoped),
  );

  it.live("fails jobs and requests whose results are above WORKER_RESULT_LIMIT", () =>
    Effect.gen(function* () {
      const { port } = yield* serveInProcess([], { WORKER_RESULT_LIMIT: "100000" });
      const job = yield* ask(port, "/runsync", { body: { input: LARGE } });
      assert.deepInclude(job.json, { status: "FAILED" });
      assert.include(String(text(job.json)["error"]), TOO_LARGE);
      assert.isBelow(job.text.length, 100_000);
      const executed = yield* ask(port, "/execute", { body: LARGE });
      assert.include(String(text(executed.json)["error"]), TOO_LARGE);
      assert.isBelow(executed.text.length, 100_000);
    }).pipe(Effect.scoped),
  );

  it.live.each(["off", "20 MB", "0", "-1", "65535", "70000.5", "Infinity"])(
    "refuses to start with a WORKER_RESULT_LIMIT of %s",
    (value) =>
      Effect.gen(function* () {
        const { code, stderr } = yield* runCommandLine(["serve", "--port", "0"], {
          ...realEnvironment(),
          WORKER_RESULT_LIMIT: value,
        });
        assert.strictEqual(code, 2);
        assert.include(stderr, `WORKER_RESULT_LIMIT is "${value}"`);
        assert.include(stderr, "expected a whole number of bytes, 65536 or more");
      }),
  );

  it.live("also starts with the flags of RunPod's Python SDK", () =>
    Effect.gen(function* () {
      const worker = yield* workerProcess({}, [
        "start",
        "--rp_serve_api",
        "--rp_api_port",
        "0",
        "--rp_api_host",
        "localhost",
        "--rp_api_concurrency",
        "1",
      ]);
      const [, port] = yield* worker.wrote(/http:\/\/localhost:(\d+)\D/);
      const answer = yield* ask(Number(port), "/runsync", { body: { input: HELLO } });
      assert.deepNestedInclude(text(answer.json), { "output.json_result": "Hello you" });
    }).pipe(Effect.scoped),
  );
});

describe("start behind a load balancer", () => {
  it.live("runs requests, answers pings at the same time, and drains at SIGTERM", () =>
    Effect.gen(function* () {
      const worker = yield* workerProcess({ PORT: "0", WORKER_CONCURRENCY: "2" });
      const [, shown] = yield* worker.wrote(/Listening on 0\.0\.0\.0:(\d+)\D/);
      const port = Number(shown);
      yield* ready(port);
      const slow = functionInput("import time\ndef f():\n    time.sleep(2)\n    return 'slow'");
      const waiting = yield* Effect.forkChild(ask(port, "/execute", { body: slow }));
      const quick = yield* ask(port, "/execute", { body: { input: HELLO } });
      assert.deepInclude(quick.json, { success: true, json_result: "Hello you", error: null });
      assert.strictEqual((yield* ask(port, "/ping")).status, 200);
      assert.strictEqual((yield* ask(port, "/run", { body: { input: HELLO } })).status, 404);
      // As RunPod's gateway passes requests on.
      const headers = { host: "abc123.api.runpod.ai" };
      assert.strictEqual((yield* ask(port, "/ping", { headers })).status, 200);
      assert.isTrue(existsSync(join(tmpdir(), `worker-tetra-${worker.pid}.alive`)));
      yield* worker.signal("SIGTERM");
      assert.deepInclude((yield* Fiber.join(waiting)).json, { json_result: "slow" });
      assert.strictEqual((yield* worker.ended).code, 0);
      assert.include(worker.stdout(), "for you\n");
    }).pipe(Effect.scoped),
  );

  it.live("stops code whose client has disconnected", () =>
    Effect.gen(function* () {
      const marker = `${yield* temporaryFolder}/marker`;
      const worker = yield* startCommandLine(["start"], { ...realEnvironment(), PORT: "0" });
      const port = yield* listening(worker);
      const long = functionInput(
        "import time\ndef f(path):\n    open(path, 'w').close()\n    time.sleep(100)",
        [marker],
      );
      const waiting = yield* Effect.forkChild(ask(port, "/execute", { body: long }));
      yield* eventually(() => existsSync(marker));
      yield* Fiber.interrupt(waiting);
      const next = yield* ask(port, "/execute", { body: HELLO });
      assert.deepInclude(next.json, { json_result: "Hello you" });
    }).pipe(Effect.scoped),
  );

  it.live("fails requests whose results are above WORKER_RESULT_LIMIT", () =>
    Effect.gen(function* () {
      const worker = yield* startCommandLine(["start"], {
        ...realEnvironment(),
        PORT: "0",
        WORKER_RESULT_LIMIT: "100000",
      });
      const port = yield* listening(worker);
      const answer = yield* ask(port, "/execute", { body: LARGE });
      assert.include(String(text(answer.json)["error"]), TOO_LARGE);
      assert.isBelow(answer.text.length, 100_000);
    }).pipe(Effect.scoped),
  );

  it.live("answers pings on PORT_HEALTH", () =>
    Effect.gen(function* () {
      // A free port is found by letting another server have it first.
      const spare = yield* serveProcess();
      yield* spare.signal("SIGKILL");
      yield* spare.ended;
      const worker = yield* startCommandLine(["start"], {
        ...realEnvironment(),
        PORT: "0",
        PORT_HEALTH: String(spare.port),
      });
      const port = yield* listening(worker);
      yield* listening(worker, 2);
      yield* ready(spare.port);
      const answer = yield* ask(port, "/execute", { body: HELLO });
      assert.deepInclude(answer.json, { json_result: "Hello you" });
    }).pipe(Effect.scoped),
  );
});
