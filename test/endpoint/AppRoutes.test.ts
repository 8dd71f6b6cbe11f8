import type { RequestListener, ServerResponse } from "node:http";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Fiber, SubscriptionRef } from "effect";

import { LaunchFailed, STARTING } from "../../src/endpoint/Availability.ts";
import { eventually, isDone } from "../support/effects/Waiting.ts";
import { ask, sendRaw } from "../support/http/HttpRequest.ts";
import { appEndpoint, testApp } from "../support/http/TestApp.ts";

const FAILURE = {
  phase: "import",
  reason: "The module main can't be imported: ModuleNotFoundError: No module named 'numpy'",
  advice: "Add numpy to the dependencies.",
  traceback: 'File "main.py", line 1',
};

const FAILED = {
  _tag: "Failed",
  failure: new LaunchFailed({ ...FAILURE, isRetryable: false }),
} as const;

describe("the routes of a deployed app", () => {
  it.live("report the state of the app to the health check", () =>
    Effect.gen(function* () {
      const { port, state, drain } = yield* testApp((_, response) => void response.end("app"));
      const ready = yield* ask(port, "/ping");
      assert.deepInclude(ready, { status: 200, text: "" });
      yield* SubscriptionRef.set(state, STARTING);
      assert.strictEqual((yield* ask(port, "/ping")).status, 204);
      yield* SubscriptionRef.set(state, FAILED);
      const failed = yield* ask(port, "/ping");
      assert.strictEqual(failed.status, 500);
      assert.deepInclude(failed.json, FAILURE);
      yield* drain.begin;
      assert.strictEqual((yield* ask(port, "/ping")).status, 503);
    }).pipe(Effect.scoped),
  );

  it.live("have the health check at the given path only", () =>
    Effect.gen(function* () {
      const { port } = yield* testApp(({ url }, response) => void response.end(`app ${url}`), {
        healthPath: "/health",
      });
      assert.deepInclude(yield* ask(port, "/health?x=1"), { status: 200, text: "" });
      assert.deepInclude(yield* ask(port, "/ping"), { status: 200, text: "app /ping" });
      assert.deepInclude(yield* ask(port, "/health", { method: "POST" }), { text: "app /health" });
    }).pipe(Effect.scoped),
  );

  it.live("keep requests until the app is ready", () =>
    Effect.gen(function* () {
      const endpoint = yield* testApp((_, response) => void response.end("app"));
      const ready = yield* SubscriptionRef.get(endpoint.state);
      yield* SubscriptionRef.set(endpoint.state, STARTING);
      const asking = yield* Effect.forkChild(ask(endpoint.port, "/work", { body: { a: 1 } }));
      const finished = yield* Effect.forkChild(endpoint.drain.requestsFinished);
      assert.strictEqual((yield* ask(endpoint.port, "/ping")).status, 204);
      assert.isFalse(isDone(asking));
      yield* SubscriptionRef.set(endpoint.state, ready);
      assert.deepInclude(yield* Fiber.join(asking), { status: 200, text: "app" });
      yield* Fiber.join(finished);
    }).pipe(Effect.scoped),
  );

  it.live("respond with the reason when the app has failed", () =>
    Effect.gen(function* () {
      const { port, state } = yield* appEndpoint();
      const asking = yield* Effect.forkChild(ask(port, "/work"));
      yield* ask(port, "/ping");
      yield* SubscriptionRef.set(state, FAILED);
      const response = yield* Fiber.join(asking);
      assert.strictEqual(response.status, 500);
      assert.deepInclude(response.json, { error: FAILURE.reason, ...FAILURE });
    }).pipe(Effect.scoped),
  );

  it.live("refuse /execute however its path is written, unless it is allowed", () =>
    Effect.gen(function* () {
      const seen: Array<string> = [];
      const listener: RequestListener = ({ url = "" }, response) => {
        seen.push(url);
        response.end();
      };
      const closed = yield* testApp(listener);
      for (const path of ["/execute", "/%65xecute?x", "//execute/", "/execute#x"]) {
        const bytes = `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`;
        const text = yield* sendRaw(closed.port, bytes);
        assert.match(text, /^HTTP\/1\.1 403 [^]*WORKER_ALLOW_EXECUTE/, path);
      }
      assert.deepStrictEqual(seen, []);
      const other = yield* ask(closed.port, "/execute-later", { body: {} });
      assert.strictEqual(other.status, 200);
      const opened = yield* testApp(listener, { allowsExecute: true });
      assert.strictEqual((yield* ask(opened.port, "/execute", { body: {} })).status, 200);
      assert.deepStrictEqual(seen, ["/execute-later", "/execute"]);
    }).pipe(Effect.scoped),
  );

  it.live("leave other origins, types of bodies and malformed paths to the app", () =>
    Effect.gen(function* () {
      const { port } = yield* testApp(({ method, url }, response) => {
        response.end(`${method} ${url}`);
      });
      const headers = { origin: "https://example.com", "content-type": "text/plain" };
      const posted = yield* ask(port, "/form", { body: "text", headers });
      assert.deepInclude(posted, { status: 200, text: "POST /form" });
      const malformed = yield* ask(port, "/%zz");
      assert.deepInclude(malformed, { status: 200, text: "GET /%zz" });
    }).pipe(Effect.scoped),
  );

  it.live("finish running requests and refuse new ones while the worker stops", () =>
    Effect.gen(function* () {
      const running: Array<ServerResponse> = [];
      const { port, drain } = yield* testApp((_, response) => void running.push(response));
      const asking = yield* Effect.forkChild(ask(port, "/"));
      yield* eventually(() => running.length === 1);
      yield* drain.begin;
      assert.strictEqual((yield* ask(port, "/")).status, 503);
      const finished = yield* Effect.forkChild(drain.requestsFinished);
      assert.isFalse(isDone(finished));
      running[0]?.end("done");
      assert.strictEqual((yield* Fiber.join(asking)).text, "done");
      yield* Fiber.join(finished);
    }).pipe(Effect.scoped),
  );
});
