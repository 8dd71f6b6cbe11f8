import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Fiber, Schedule } from "effect";

import { poll } from "../../support/effects/Waiting.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { openConnection } from "../../support/http/Connection.ts";
import { type HttpResult, ask } from "../../support/http/HttpRequest.ts";
import { workerProcess } from "../../support/processes/WorkerProcess.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

/** Records that it has started, then waits until its gate is opened. */
const GATED = `
import os, time, uuid
def f(folder):
    open(os.path.join(folder, "begun-" + uuid.uuid4().hex), "w").close()
    while not os.path.exists(os.path.join(folder, "gate")): time.sleep(0.01)
    return "whole"
`;

/** Ends last, when the queue is empty already. */
const GATED_AND_SLOW = GATED.replace("return", "time.sleep(0.5); return");

const GATED_GENERATOR = `
import os, time
def f(folder):
    yield "first"
    open(os.path.join(folder, "begun-generator"), "w").close()
    while not os.path.exists(os.path.join(folder, "gate")): time.sleep(0.01)
    yield "last"
`;

/** A folder through which a test sees which jobs have begun, and lets them end. */
const gate = Effect.gen(function* () {
  const folder = yield* temporaryFolder;
  return {
    folder,
    begun: (count: number) =>
      poll(
        Effect.sync(() => readdirSync(folder)),
        (names) => names.filter((name) => name.startsWith("begun")).length === count,
      ),
    open: Effect.sync(() => writeFileSync(join(folder, "gate"), "")),
  };
});

const NPM = "exec npm start -s --";

/** A listening worker in a separate process group. */
const listening = Effect.fnUntraced(function* (
  args: ReadonlyArray<string>,
  command?: string,
  variables: Readonly<Record<string, string>> = {},
) {
  const worker = yield* workerProcess(variables, args, command, true);
  const [, port] = yield* worker.wrote(/istening (?:on|at) [^ ]+:(\d+)\D/);
  return { ...worker, port: Number(port) };
});

const says = (worker: { readonly logs: () => ReadonlyArray<{ readonly message: string }> }) =>
  worker
    .logs()
    .map(({ message }) => message)
    .join("\n");

const idOf = (response: HttpResult) => (response.json as { readonly id: string }).id;

/** Everything a client of `run` polls for, as Flash does. */
const polled = (port: number, id: string) =>
  ask(port, `/status/${id}`).pipe(
    Effect.repeat({
      schedule: Schedule.spaced("500 millis"),
      until: ({ json }) => (json as { readonly status: string }).status === "COMPLETED",
    }),
    Effect.timeout("60 seconds"),
  );

const assertRefused = (response: HttpResult) => {
  assert.strictEqual(response.status, 503);
  assert.include((response.json as { readonly error: string }).error, "no new requests");
};

describe("Ctrl-C", () => {
  it.live("drains a serve that npm started: every waiting client gets the result of its job", () =>
    Effect.gen(function* () {
      const { folder, begun, open } = yield* gate;
      const worker = yield* listening(["serve", "--port", "0", "--concurrency", "5"], NPM);
      const { port } = worker;
      const body = { input: functionInput(GATED, [folder]) };
      const runsync = yield* Effect.forkChild(ask(port, "/runsync?wait=300000", { body }));
      const slow = { body: { input: functionInput(GATED_AND_SLOW, [folder]) } };
      const execute = yield* Effect.forkChild(ask(port, "/execute", slow));
      const awaited = idOf(yield* ask(port, "/run", { body }));
      const sync = yield* Effect.forkChild(ask(port, `/status-sync/${awaited}?wait=300000`));
      const generator = { input: functionInput(GATED_GENERATOR, [folder]) };
      const streamed = idOf(yield* ask(port, "/run", { body: generator }));
      const pollee = idOf(yield* ask(port, "/run", { body }));
      const polling = yield* Effect.forkChild(polled(port, pollee));
      yield* begun(5);
      yield* openConnection(port, "");
      yield* openConnection(port, "POST /run HTTP/1.1\r\nHost: 127.0.0.1\r\n");

      // As a terminal does: npm and the worker are sent one each, and npm forwards its own.
      yield* worker.signalGroup("SIGINT");
      yield* worker.wrote("Draining");
      for (const path of ["/run", "/runsync", "/v2/any/run", "/execute", `/retry/${pollee}`]) {
        assertRefused(yield* ask(port, path, { body }));
      }
      const chunks: Array<unknown> = [];
      const streaming = yield* ask(port, `/stream/${streamed}`).pipe(
        Effect.map(({ json }) => json as { status: string; stream: ReadonlyArray<unknown> }),
        Effect.tap(({ stream }) => Effect.sync(() => chunks.push(...stream))),
        Effect.repeat({
          until: ({ status, stream }) => status === "COMPLETED" && stream.length === 0,
        }),
        Effect.forkChild,
      );
      yield* open;

      assert.deepNestedInclude((yield* Fiber.join(runsync)).json, {
        "output.json_result": "whole",
      });
      assert.deepNestedInclude((yield* Fiber.join(execute)).json, { json_result: "whole" });
      assert.deepNestedInclude((yield* Fiber.join(sync)).json, { "output.json_result": "whole" });
      assert.deepNestedInclude((yield* Fiber.join(polling)).json, {
        "output.json_result": "whole",
      });
      yield* Fiber.join(streaming);
      assert.lengthOf(chunks, 2);
      assert.strictEqual((yield* worker.ended).code, 0);
      assert.match(says(worker), /Worker started: listening at http:\/\/127.0.0.1:\d+/);
      assert.include(says(worker), "Worker stopped");
    }).pipe(Effect.scoped),
  );

  it.live("pressed twice stops the running jobs of serve immediately", () =>
    Effect.gen(function* () {
      const { folder, begun } = yield* gate;
      const worker = yield* listening(["serve", "--port", "0"]);
      const waiting = yield* ask(worker.port, "/runsync", {
        body: { input: functionInput(GATED, [folder]) },
      }).pipe(Effect.exit, Effect.forkChild);
      yield* begun(1);
      // All within milliseconds are one key press; the kernel may merge some of them.
      yield* worker
        .signal("SIGINT")
        .pipe(Effect.repeat({ schedule: Schedule.spaced("5 millis"), times: 9 }));
      yield* worker.wrote("Draining");
      assert.strictEqual((yield* ask(worker.port, "/health")).status, 200);
      const pressed = worker.signal("SIGINT").pipe(Effect.repeat(Schedule.spaced("100 millis")));
      const { code } = yield* Effect.raceFirst(worker.ended, Effect.andThen(pressed, Effect.never));
      assert.strictEqual(code, 130);
      yield* Fiber.join(waiting);
    }).pipe(Effect.scoped),
  );

  it.live(
    "or a closed terminal cancels the queued jobs of serve, and waiting clients get that status",
    () =>
      Effect.gen(function* () {
        const { folder, begun, open } = yield* gate;
        const worker = yield* listening(["serve", "--port", "0", "--concurrency", "1"]);
        const body = { input: functionInput(GATED, [folder]) };
        const first = yield* Effect.forkChild(ask(worker.port, "/runsync", { body }));
        yield* begun(1);
        const second = yield* Effect.forkChild(ask(worker.port, "/runsync", { body }));
        yield* poll(ask(worker.port, "/health"), ({ text }) => text.includes('"inQueue":1'));
        // A terminal and its shell send one each.
        yield* worker.signal("SIGHUP");
        yield* worker.wrote("Draining");
        yield* worker.signal("SIGHUP");
        assert.deepInclude((yield* Fiber.join(second)).json, { status: "CANCELLED" });
        yield* open;
        assert.deepInclude((yield* Fiber.join(first)).json, { status: "COMPLETED" });
        assert.strictEqual((yield* worker.ended).code, 0);
        assert.include(says(worker), "Cancelled 1 queued jobs");
      }).pipe(Effect.scoped),
  );

  it.live("in serve --keep stops jobs, and waiting clients get the reason", () =>
    Effect.gen(function* () {
      const { folder, begun } = yield* gate;
      const args = ["serve", "--port", "0", "--keep", `${folder}/jobs`];
      const worker = yield* listening(args, NPM);
      const waiting = yield* ask(worker.port, "/runsync", {
        body: { input: functionInput(GATED, [folder]) },
      }).pipe(Effect.forkChild);
      yield* begun(1);
      yield* worker.signalGroup("SIGINT");
      const answer = yield* Fiber.join(waiting);
      assert.strictEqual(answer.status, 503);
      assert.include((answer.json as { readonly error: string }).error, "The worker stopped");
      assert.strictEqual((yield* worker.ended).code, 130);
    }).pipe(Effect.scoped),
  );
});

describe("SIGTERM to serve", () => {
  it.live(
    "stops jobs that still run after WORKER_SHUTDOWN_GRACE, and responds with the reason",
    () =>
      Effect.gen(function* () {
        const { folder, begun } = yield* gate;
        const worker = yield* listening(["serve", "--port", "0"], undefined, {
          WORKER_SHUTDOWN_GRACE: "0.2",
        });
        const body = { input: functionInput(GATED, [folder]) };
        const queued = yield* Effect.forkChild(ask(worker.port, "/runsync", { body }));
        const executed = yield* Effect.forkChild(ask(worker.port, "/execute", { body }));
        yield* begun(2);
        yield* worker.signal("SIGTERM");
        const answer = yield* Fiber.join(queued);
        assert.deepInclude(answer.json, { status: "FAILED" });
        assert.include(answer.text, "WORKER_SHUTDOWN_GRACE (0.2 seconds)");
        assert.include((yield* Fiber.join(executed)).text, "The worker stopped");
        assert.strictEqual((yield* worker.ended).code, 0);
      }).pipe(Effect.scoped),
  );
});

describe("SIGTERM to a worker behind a load balancer", () => {
  it.live(
    "finishes running requests, rejects new ones, and does not wait for idle connections",
    () =>
      Effect.gen(function* () {
        const { folder, begun, open } = yield* gate;
        const worker = yield* listening(["start"], undefined, {
          PORT: "0",
          WORKER_CONCURRENCY: "2",
        });
        const { port } = worker;
        const body = { input: functionInput(GATED, [folder]) };
        const waiting = yield* Effect.forkChild(ask(port, "/execute", { body }));
        yield* begun(1);
        yield* openConnection(port, "");
        yield* openConnection(port, "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n");
        yield* worker.signal("SIGTERM");
        yield* worker.wrote("Draining");
        assertRefused(yield* ask(port, "/execute", { body }));
        assert.strictEqual((yield* ask(port, "/ping")).status, 204);
        yield* open;
        assert.deepInclude((yield* Fiber.join(waiting)).json, { json_result: "whole" });
        assert.strictEqual((yield* worker.ended).code, 0);
        assert.match(
          says(worker),
          /Worker started[^]*Listening on 0\.0\.0\.0:\d+[^]*Worker stopped/,
        );
      }).pipe(Effect.scoped),
  );

  it.live(
    "stops requests that still run after WORKER_SHUTDOWN_GRACE, and responds with the reason",
    () =>
      Effect.gen(function* () {
        const { folder, begun } = yield* gate;
        const worker = yield* listening(["start"], undefined, {
          PORT: "0",
          WORKER_SHUTDOWN_GRACE: "0.2",
        });
        const body = { input: functionInput(GATED, [folder]) };
        const waiting = yield* Effect.forkChild(ask(worker.port, "/execute", { body }));
        yield* begun(1);
        yield* worker.signal("SIGTERM");
        const answer = yield* Fiber.join(waiting);
        assert.strictEqual(answer.status, 503);
        assert.include((answer.json as { readonly error: string }).error, "The worker stopped");
        assert.strictEqual((yield* worker.ended).code, 0);
      }).pipe(Effect.scoped),
  );
});
