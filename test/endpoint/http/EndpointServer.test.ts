import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Fiber, Option, Predicate } from "effect";

import { EncodedResponse } from "../../../src/domain/EncodedResponse.ts";
import { success } from "../../../src/domain/FunctionResponse.ts";
import { endpointServer } from "../../../src/endpoint/http/EndpointServer.ts";
import { makeRequestBudget, RequestBudget } from "../../../src/endpoint/http/RequestBody.ts";
import { eventually, poll } from "../../support/effects/Waiting.ts";
import { openConnection } from "../../support/http/Connection.ts";
import { ask } from "../../support/http/HttpRequest.ts";
import { loopbackServer } from "../../support/http/LoopbackServer.ts";
import { endpoint, serverOptions } from "../../support/http/TestEndpoint.ts";

const MIB = 1024 * 1024;

const valueOf = (json: unknown, name: string): unknown =>
  Predicate.isObject(json) ? json[name] : undefined;

describe("a local endpoint", () => {
  it.live("has RunPod's routes, with and without the prefix, and the keys that clients need", () =>
    Effect.gen(function* () {
      const { port, ready, work } = yield* endpoint();
      yield* ready.open;
      yield* Effect.forkScoped(work);
      for (const prefix of ["", "/v2/any-name"]) {
        const ran = yield* ask(port, `${prefix}/run`, { body: { input: { a: 1 } } });
        assert.strictEqual(ran.status, 200);
        assert.hasAllKeys(ran.json, ["id", "status"]);
        const { id } = ran.json as { readonly id: string };
        const waited = yield* ask(port, `${prefix}/status-sync/${id}?wait=2000`);
        const view = { id, status: "COMPLETED", output: { a: 1 } };
        assert.deepInclude(waited.json, view);
        const status = yield* ask(port, `${prefix}/status/${id}`);
        assert.deepInclude(status.json, view);
        assert.containsAllKeys(status.json, ["workerId", "delayTime", "executionTime"]);
        const stream = yield* ask(port, `${prefix}/stream/${id}`);
        assert.deepStrictEqual(stream.json, { status: "COMPLETED", stream: [] });
        const cancel = yield* ask(port, `${prefix}/cancel/${id}`, { method: "POST" });
        assert.deepInclude(cancel.json, view);
        const sync = yield* ask(port, `${prefix}/runsync?wait=5000`, { body: { input: "fail" } });
        assert.deepInclude(sync.json, { status: "FAILED", error: "no" });
        const purge = yield* ask(port, `${prefix}/purge-queue`, { method: "POST" });
        assert.deepStrictEqual(purge.json, { removed: 0, status: "completed" });
        const health = yield* ask(port, `${prefix}/health`);
        assert.hasAllDeepKeys(health.json, ["jobs", "workers"]);
        assert.deepNestedInclude(health.json, { "workers.ready": 1, "workers.unhealthy": 0 });
        const metrics = yield* ask(port, `${prefix}/metrics`);
        assert.deepNestedInclude(metrics.json, { "workers.idle": 1 });
        const executed = yield* ask(port, `${prefix}/execute`, { body: { function_name: "f" } });
        assert.deepInclude(executed.json, { success: true, stdout: '{"function_name":"f"}' });
        const wrapped = yield* ask(port, `${prefix}/execute`, { body: { input: { x: 1 } } });
        assert.deepInclude(wrapped.json, { stdout: '{"x":1}' });
      }
    }).pipe(Effect.scoped),
  );

  it.live("responds to /ping while it is busy, and reports when it is ready", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>();
      const { port, ready } = yield* endpoint({}, () =>
        Effect.as(Deferred.await(gate), EncodedResponse.of(success({}))),
      );
      assert.strictEqual((yield* ask(port, "/ping")).status, 204);
      const health = yield* ask(port, "/health");
      assert.deepNestedInclude(health.json, { "workers.initializing": 1, "workers.ready": 0 });
      yield* ready.open;
      const executing = yield* Effect.forkChild(ask(port, "/execute", { body: {} }));
      assert.strictEqual((yield* ask(port, "/ping")).status, 200);
      yield* Deferred.succeed(gate, undefined);
      assert.strictEqual((yield* Fiber.join(executing)).status, 200);
    }).pipe(Effect.scoped),
  );

  it.live("stops the code when the client disconnects", () =>
    Effect.gen(function* () {
      const seen: Array<string> = [];
      const { port } = yield* endpoint({}, () =>
        Effect.sync(() => seen.push("started")).pipe(
          Effect.andThen(Effect.never),
          Effect.onInterrupt(() => Effect.sync(() => seen.push("stopped"))),
        ),
      );
      const executing = yield* Effect.forkChild(ask(port, "/execute", { body: {} }));
      yield* eventually(() => seen.length === 1);
      yield* Fiber.interrupt(executing);
      yield* eventually(() => seen.length === 2);
      assert.deepStrictEqual(seen, ["started", "stopped"]);
    }).pipe(Effect.scoped),
  );

  describe("describes what is wrong", () => {
    it.live("with a request", () =>
      Effect.gen(function* () {
        const { port } = yield* endpoint();
        const cases = [
          { path: "/status/none", status: 404, message: "Unknown or expired job none" },
          {
            path: "/v2/e/retry/none",
            method: "POST",
            status: 404,
            message: "Unknown or expired job none",
          },
          { path: "/nowhere", status: 404, message: "/docs" },
          { path: "/run", status: 404, message: "Unknown route: GET /run" },
          { path: "/run", body: "{", status: 400, message: "valid JSON" },
          { path: "/run", body: [1], status: 400, message: "object" },
          { path: "/run", body: { policy: { ttl: "x" } }, status: 400, message: "ttl" },
          { path: "/status-sync/none?wait=soon", status: 400, message: "wait" },
          {
            path: "/run",
            body: "a=b",
            headers: { "content-type": "application/x-www-form-urlencoded" },
            status: 415,
            message: "Content-Type: application/json",
          },
        ] as const;
        for (const { path, status, message, ...options } of cases) {
          const response = yield* ask(port, path, options);
          assert.strictEqual(response.status, status, path);
          assert.include((response.json as { readonly error: string }).error, message);
        }
      }).pipe(Effect.scoped),
    );

    it.live(
      "with the size of a request, by the limit of the route",
      () =>
        Effect.gen(function* () {
          const { port, work } = yield* endpoint();
          yield* Effect.forkScoped(work);
          const limits = [
            ["/run", 10],
            ["/v2/e/runsync", 20],
            ["/execute", 30],
          ] as const;
          for (const [path, limit] of limits) {
            const fits = yield* ask(port, path, { body: { input: "x".repeat(limit * MIB - 100) } });
            assert.strictEqual(fits.status, 200);
            for (const chunked of [false, true]) {
              const body = { input: "x".repeat(limit * MIB) };
              const response = yield* ask(port, path, { body, chunked });
              assert.strictEqual(response.status, 413);
              assert.include(response.text, `${limit} MiB`);
            }
          }
        }).pipe(Effect.scoped),
      30_000,
    );
  });

  describe("limits its requests", () => {
    const small = makeRequestBudget(MIB);
    const withRoom = Effect.provideService(RequestBudget, small);

    it.live("by responding with 429 and Retry-After at the memory limit", () =>
      Effect.gen(function* () {
        const { port, work } = yield* endpoint();
        const half = { body: { input: "x".repeat(MIB / 2) } };
        const first = yield* ask(port, "/run", half);
        assert.strictEqual(first.status, 200);
        for (const path of ["/run", "/runsync", "/execute"]) {
          for (const chunked of [false, true]) {
            const refused = yield* ask(port, path, { ...half, chunked });
            assert.strictEqual(refused.status, 429, path);
            assert.strictEqual(refused.headers["retry-after"], "5");
            assert.include(String(valueOf(refused.json, "error")), "Too many requests: 1 MiB");
          }
        }
        // Requests that need little or no memory still succeed.
        assert.strictEqual((yield* ask(port, "/run", { body: { input: 1 } })).status, 200);
        assert.strictEqual((yield* ask(port, "/health")).status, 200);
        yield* Effect.forkScoped(work);
        const again = yield* poll(ask(port, "/runsync", half), ({ status }) => status === 200);
        assert.deepInclude(again.json, { status: "COMPLETED" });
      }).pipe(Effect.scoped, withRoom),
    );

    it.live(
      "by responding to clients that keep sending at the memory limit",
      () =>
        Effect.gen(function* () {
          const { port } = yield* endpoint();
          const body = JSON.stringify({ input: "x".repeat(9 * MIB) });
          const responses = yield* Effect.forEach(
            Array.from({ length: 12 }, (_, index) => index % 2 === 0),
            (chunked) => ask(port, "/run", { body, chunked }),
            { concurrency: "unbounded" },
          );
          for (const { status } of responses) assert.strictEqual(status, 429);
          // A client that sent Expect: 100-continue gets no 100.
          const headers = { expect: "100-continue", "content-length": "99999999999" };
          const huge = yield* ask(port, "/run", { body: "{", headers });
          assert.strictEqual(huge.status, 413);
        }).pipe(Effect.scoped, withRoom),
      30_000,
    );

    it.live("by counting an overhead for each, and releases all memory at the end", () => {
      const budget = makeRequestBudget(100 * 1024);
      return Effect.gen(function* () {
        const run = Effect.gen(function* () {
          const { port } = yield* endpoint();
          const statuses: Array<number> = [];
          for (let index = 0; index < 30; index += 1) {
            statuses.push((yield* ask(port, "/run", { body: { input: 1 } })).status);
          }
          assert.strictEqual(statuses.filter((status) => status === 200).length, 24);
          assert.strictEqual(statuses.at(-1), 429);
          yield* ask(port, "/purge-queue", { method: "POST" });
          for (const path of ["/run", "/nowhere", "/execute"]) {
            yield* ask(port, path, { body: "{" });
            yield* ask(port, path, { body: { input: 2 } });
          }
        });
        yield* Effect.scoped(run);
        assert.isTrue(yield* budget.reserve(100 * 1024));
      }).pipe(Effect.provideService(RequestBudget, budget));
    });

    it.live("by counting bytes that have arrived, not the announced Content-Length", () =>
      Effect.gen(function* () {
        const { port } = yield* endpoint();
        yield* Effect.replicateEffect(
          openConnection(
            port,
            "POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9000000\r\n\r\n{",
          ),
          20,
        );
        const response = yield* ask(port, "/run", { body: { input: "x".repeat(MIB / 2) } });
        assert.strictEqual(response.status, 200);
      }).pipe(Effect.scoped, withRoom),
    );

    const LISTS = `${"[".repeat(500_000)}${"]".repeat(500_000)}`;
    const ARGUMENTS = `{${'"k":1,'.repeat(100_000)}"k":1}`;
    const TOO_COMPLEX = [
      ["lists in each other", `{"input":${LISTS}}`, "100 levels"],
      ["lists in an argument", `{"input":{"args":[${LISTS}]}}`, "100 levels"],
      ["lists under an unknown key", `{"input":1,"x":${LISTS}}`, "100 levels"],
      ["lists under a policy", `{"policy":${LISTS}}`, "100 levels"],
      ["arguments", `{"input":{"kwargs":${ARGUMENTS}}}`, "50,000 keys"],
      ["a constructor's arguments", `{"input":{"constructor_kwargs":${ARGUMENTS}}}`, "50,000 keys"],
      ["modules", `{"input":{"modules":${ARGUMENTS}}}`, "50,000 keys"],
      ["unknown keys", ARGUMENTS, "50,000 keys"],
      ["lists in a list", `{"input":[${"[],".repeat(200_000)}[]]}`, "100,000 lists"],
      ["numbers in a list", `{"input":[${"1,".repeat(300_000)}1]}`, "200,000 numbers"],
    ] as const;
    it.live.each(TOO_COMPLEX)("by rejecting too many %s on every route", ([, body, limit]) =>
      Effect.gen(function* () {
        const { port } = yield* endpoint();
        for (const path of ["/run", "/v2/e/runsync", "/execute"]) {
          const response = yield* ask(port, path, { body });
          assert.strictEqual(response.status, 400, path);
          assert.include(String(valueOf(response.json, "error")), limit);
        }
        assert.strictEqual((yield* ask(port, "/health")).status, 200);
      }).pipe(Effect.scoped),
    );

    it.live("without treating the name of a property of every object as a job", () =>
      Effect.gen(function* () {
        const { port } = yield* endpoint();
        for (const id of ["constructor", "__proto__", "toString", "%5F_proto__"]) {
          assert.strictEqual((yield* ask(port, `/status/${id}`)).status, 404);
          for (const route of ["cancel", "retry"]) {
            assert.strictEqual(
              (yield* ask(port, `/${route}/${id}`, { method: "POST" })).status,
              404,
            );
          }
          assert.strictEqual((yield* ask(port, `/${id}`, { body: {} })).status, 404);
        }
      }).pipe(Effect.scoped),
    );
  });

  it.live("serves documentation of its routes", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint();
      const { text } = yield* ask(port, "/docs");
      for (const path of ["/runsync", "/status/{id}", "/purge-queue", "/execute"]) {
        assert.include(text, path);
      }
    }).pipe(Effect.scoped),
  );

  describe("listens", () => {
    it.live("on the given port, or fails with the reason", () =>
      Effect.gen(function* () {
        const { port } = yield* loopbackServer(() => {});
        const busy = yield* Effect.flip(endpoint({ port: Option.some(port) }));
        assert.strictEqual(busy._tag, "ListenFailed");
        assert.include(busy.message, `127.0.0.1:${port} is already in use`);
        const foreign = yield* Effect.flip(endpoint({ host: "192.0.2.1" }));
        assert.include(foreign.message, "192.0.2.1 is not an address of this machine");
      }).pipe(Effect.scoped),
    );

    it.live("on the next free port if no port is given and the default one is in use", () =>
      Effect.gen(function* () {
        const first = yield* endpointServer({ ...serverOptions, port: Option.none() });
        const second = yield* endpointServer({ ...serverOptions, port: Option.none() });
        assert.isAbove(second.port, first.port);
        // Requests get a response even before there are routes.
        const early = yield* ask(second.port, "/health");
        assert.strictEqual(early.status, 503);
      }).pipe(Effect.scoped),
    );
  });
});
