import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Schema } from "effect";

import { launchApp, type Listening } from "../../src/endpoint/AppLauncher.ts";
import { appRoutes } from "../../src/endpoint/AppRoutes.ts";
import { superviseApp } from "../../src/endpoint/AppSupervisor.ts";
import { LaunchFailed, launchOutcome } from "../../src/endpoint/Availability.ts";
import { Drain } from "../../src/endpoint/Drain.ts";
import { endpointServer } from "../../src/endpoint/http/EndpointServer.ts";
import { imagePython } from "../support/clients/Clients.ts";
import { poll } from "../support/effects/Waiting.ts";
import { ask } from "../support/http/HttpRequest.ts";
import { serverOptions } from "../support/http/TestEndpoint.ts";

const SERVER = fileURLToPath(new URL("../support/python/asgi_server.py", import.meta.url));

class ProcessEnded extends Schema.TaggedError<ProcessEnded>()("ProcessEnded", {
  message: Schema.String,
}) {}

/** Runs the server in its own process. */
const serve = (python: string, { socket, ready }: Listening) =>
  Effect.gen(function* () {
    const process = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(python, [SERVER, socket], { stdio: ["ignore", "pipe", "inherit"] })),
      (process) => Effect.sync(() => process.kill("SIGKILL")),
    );
    const exited = once(process, "exit");
    const listening = Effect.promise(() => once(process.stdout, "data"));
    yield* Effect.forkScoped(Effect.andThen(listening, ready));
    const [code] = yield* Effect.promise(() => exited);
    return yield* new ProcessEnded({ message: `Python exited with code ${code}.` });
  }).pipe(Effect.scoped);

/** The routes of a deployed app whose process is uvicorn with FastAPI. */
const fastApi = Effect.gen(function* () {
  const python = yield* imagePython;
  const launch = Effect.mapError(
    launchApp((listening) => serve(python, listening), []),
    ({ message: reason }) =>
      new LaunchFailed({
        phase: "import",
        reason,
        advice: "",
        traceback: "",
        isRetryable: false,
      }),
  );
  const services = yield* Layer.build(Drain.layer);
  const { port, serve: listen } = yield* endpointServer({
    ...serverOptions,
    isBehindGateway: true,
  });
  const state = yield* superviseApp(launch);
  const fallback = yield* appRoutes(state, { healthPath: "/ping", allowsExecute: false }).pipe(
    Effect.provide(services),
  );
  yield* listen(Layer.empty, fallback);
  yield* launchOutcome(state);
  return { port, url: `http://127.0.0.1:${port}` };
});

const json = (response: Response) => Effect.promise((): Promise<unknown> => response.json());

const fetched = (url: string, init?: RequestInit) => Effect.promise(() => fetch(url, init));

describe("a FastAPI app behind the proxy", () => {
  it.live("validates requests and routes them itself", () =>
    Effect.gen(function* () {
      const { port } = yield* fastApi;
      assert.strictEqual((yield* ask(port, "/ping")).status, 200);
      assert.strictEqual((yield* ask(port, "/sum", { body: { a: 1, b: 2 } })).json, 3);
      const invalid = yield* ask(port, "/sum", { body: { a: "x" } });
      assert.strictEqual(invalid.status, 422);
      assert.include(invalid.text, "int_parsing");
      assert.deepInclude(yield* ask(port, "/nowhere"), {
        status: 404,
        text: '{"detail":"Not Found"}',
      });
      assert.strictEqual((yield* ask(port, "/sum")).status, 405);
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );

  it.live("receives large files", () =>
    Effect.gen(function* () {
      const { url } = yield* fastApi;
      const bytes = randomBytes(25 * 1024 * 1024);
      const body = new FormData();
      body.append("file", new Blob([bytes]), "large.bin");
      const response = yield* fetched(`${url}/files`, { method: "POST", body });
      assert.deepStrictEqual(yield* json(response), {
        size: bytes.length,
        sha256: createHash("sha256").update(bytes).digest("hex"),
      });
      const raw = yield* fetched(`${url}/raw`, { method: "POST", body: bytes });
      assert.strictEqual(yield* json(raw), bytes.length);
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );

  it.live("streams events, and stops when the client disconnects", () =>
    Effect.gen(function* () {
      const { url, port } = yield* fastApi;
      const readFirst = Effect.gen(function* () {
        const response = yield* fetched(`${url}/events`, { signal: yield* Effect.abortSignal });
        const reader = response.body?.getReader();
        const first = yield* Effect.promise(async () => reader?.read());
        assert.match(Buffer.from(first?.value ?? []).toString(), /^data: 1\n\n/);
      });
      // The client disconnects when the scope closes.
      yield* Effect.scoped(readFirst);
      assert.strictEqual((yield* ask(port, "/stopped")).json, true);
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );

  it.live("has WebSockets", () =>
    Effect.gen(function* () {
      const { port } = yield* fastApi;
      const socket = new WebSocket(`ws://127.0.0.1:${port}/socket`);
      yield* Effect.promise(() => once(socket, "open"));
      socket.send("hello");
      const [event] = yield* Effect.promise(() => once(socket, "message"));
      assert.deepNestedInclude(event, { data: "echo hello" });
      socket.close();
      const [closed] = yield* Effect.promise(() => once(socket, "close"));
      assert.deepNestedInclude(closed, { wasClean: true });
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );

  it.live("is started again after its process has crashed", () =>
    Effect.gen(function* () {
      const { port } = yield* fastApi;
      const crashed = yield* ask(port, "/crash");
      assert.strictEqual(crashed.status, 502);
      assert.include(crashed.text, "Python exited with code 3");
      assert.strictEqual((yield* ask(port, "/ping")).status, 204);
      // The request waits for the next process.
      assert.strictEqual((yield* ask(port, "/sum", { body: { a: 1, b: 2 } })).json, 3);
      yield* poll(ask(port, "/ping"), ({ status }) => status === 200);
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );
});
