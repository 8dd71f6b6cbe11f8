import { assert, describe, it } from "@effect/vitest";
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Redacted, Scope } from "effect";
import { HttpRouter, HttpServerError, HttpServerRequest, HttpServerResponse } from "effect/http";

import { EncodedResponse } from "../../../src/domain/EncodedResponse.ts";
import { success } from "../../../src/domain/FunctionResponse.ts";
import {
  type Access,
  routeGuard,
  unknownRouteGuard,
} from "../../../src/endpoint/http/HttpGuard.ts";
import { eventually } from "../../support/effects/Waiting.ts";
import { ask, sendRaw } from "../../support/http/HttpRequest.ts";
import { endpoint } from "../../support/http/TestEndpoint.ts";

const KEY = "a-long-key-of-this-endpoint";
const TOKEN = "the-token-that-jobs-are-given";

const keyed = { keys: [Redacted.make(KEY), Redacted.make(TOKEN)] };

const BODY = JSON.stringify({ input: 1 });

/** Request targets that once reached a route, or look like a public route. */
const TARGETS = [
  "/run",
  "/runsync?x=/ping",
  "/runsync?/ping",
  "/runsync?/docs",
  "/runsync?wait=1000&next=/docs",
  "/execute?/docs",
  "/execute?x=/ping?",
  "//runsync?/ping",
  "///v2///x//runsync?/ping",
  "/v2/x/run;/ping",
  "/v2/x/runsync;a=b/docs",
  "/v2/x/execute;/ping?/docs",
  "/run/?/ping",
  "/run#/ping",
  "/RUNSYNC?/ping",
  "/V2/X/Run?/docs",
  "/%72un?/ping",
  "/r%75nsync%3f/ping",
  "/runsync%2f%2e%2e%2fping",
  "/ping/../run",
  "/ping/%2e%2e/run",
  "/docs/..;/run",
  "/./run?/ping",
  "/x/../run?/docs",
  "/v2/ping/run",
  "/v2/docs/runsync",
  "/v2/x/status/ping",
  "/v2/x/cancel/docs",
  "/cancel/1?/ping",
  "/retry/1?/ping",
  "/purge-queue?/ping",
  "/v2/x/purge-queue;/ping",
  "/nowhere",
  "/nowhere?/ping",
  "/run/ping",
  "/ping/run",
  "/docs/run",
  "/v2/docs",
  "/v2/x/docs",
  "/openapi.json",
  "/%",
  "/%zz/ping",
  "*",
];

/** GET routes that show jobs or change what a client sees. */
const READS = [
  "/status/1?/ping",
  "/status-sync/1?wait=1000&/docs",
  "/stream/1?/docs",
  "/v2/x/stream/1;/ping",
  "/health?/ping",
  "/metrics?/docs",
  "//health?/ping",
  "/v2/x/health;/ping",
  "/HEALTH?/ping",
  "/v2/ping/health",
  "/%68ealth?/ping",
  "/run?/ping",
];

const rawRequest = (method: string, target: string, port: number, body: string, more = "") =>
  [
    `${method} ${target} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    "Content-Type: application/json",
    "Connection: close",
    ...(more.includes("Transfer-Encoding") ? [] : [`Content-Length: ${body.length}`]),
    ...(more === "" ? [] : [more]),
    "",
    body,
  ].join("\r\n");

const chunked = (body: string) => `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

const statusOf = (response: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(response)?.[1] ?? 0);

const post = (port: number, headers: Readonly<Record<string, string>>) =>
  Effect.map(ask(port, "/run", { body: { input: 1 }, headers }), ({ status }) => status);

describe("an endpoint with a key", () => {
  it.live(
    "responds with 401 to every request without the key, whatever its target",
    () =>
      Effect.gen(function* () {
        const executed: Array<unknown> = [];
        const { port, queue } = yield* endpoint(keyed, (job) =>
          Effect.sync(() => executed.push(job)).pipe(Effect.andThen(Effect.never)),
        );
        const absolute = [...TARGETS, ...READS]
          .filter((target) => target.startsWith("/"))
          .map((target) => `http://127.0.0.1:${port}${target}`);
        const requests = [
          ...[...TARGETS, ...absolute].map((target) => ["POST", target, BODY, ""] as const),
          ...TARGETS.map(
            (target) => ["POST", target, chunked(BODY), "Transfer-Encoding: chunked"] as const,
          ),
          ...[...READS, ...absolute].map((target) => ["GET", target, "", ""] as const),
          ...["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"].map(
            (method) => [method, "/runsync?/ping", "", ""] as const,
          ),
          ["POST", "/run?/ping", BODY, `Authorization: ${KEY}`] as const,
          ["POST", "/run?/ping", BODY, "Authorization: Bearer"] as const,
          ["POST", "/run?/ping", BODY, `Authorization: Bearer ${KEY}x`] as const,
          ["POST", "/run?/ping", BODY, `Authorization: Basic ${KEY}`] as const,
          ["GET", "/health?/ping", "", "Connection: Upgrade\r\nUpgrade: websocket"] as const,
          ["GET", "/health?/ping", "", "Expect: 100-continue"] as const,
        ];
        for (const [method, target, body, more] of requests) {
          const response = yield* sendRaw(port, rawRequest(method, target, port, body, more));
          assert.strictEqual(statusOf(response), 401, `${method} ${target} ${more}`);
          assert.notInclude(response, KEY);
          if (method !== "HEAD") assert.include(response, "Authorization: Bearer <key>");
        }
        const counts = yield* queue.counts;
        assert.deepInclude(counts, { IN_QUEUE: 0, IN_PROGRESS: 0, CANCELLED: 0, retried: 0 });
        assert.isEmpty(executed);
      }).pipe(Effect.scoped),
    // Some 200 connections, one after the other.
    30_000,
  );

  it.live("accepts the key and the token of its jobs, but not a prefix of them", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint(keyed);
      for (const [authorization, status] of [
        [`Bearer ${KEY}`, 200],
        [`bearer   ${KEY}`, 200],
        [`Bearer ${TOKEN}`, 200],
        [`Bearer ${KEY.slice(1)}`, 401],
        [`Bearer ${KEY}${KEY}`, 401],
        ["Bearer undefined", 401],
      ] as const) {
        const response = yield* ask(port, "/health", { headers: { authorization } });
        assert.strictEqual(response.status, status, authorization);
      }
    }).pipe(Effect.scoped),
  );

  it.live("responds to /ping and /docs without a key", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint(keyed);
      assert.strictEqual((yield* ask(port, "/ping")).status, 204);
      assert.strictEqual((yield* ask(port, "/v2/any/ping")).status, 204);
      assert.strictEqual((yield* ask(port, "/docs")).status, 200);
    }).pipe(Effect.scoped),
  );

  it.live(
    "accepts any Host if it listens on an external address, since web pages do not have the key",
    () =>
      Effect.gen(function* () {
        const { port } = yield* endpoint({ ...keyed, host: "0.0.0.0" });
        const headers = { host: "gpu-box.lan", authorization: `Bearer ${KEY}` };
        assert.strictEqual(yield* post(port, headers), 200);
        assert.strictEqual(yield* post(port, { host: "gpu-box.lan" }), 401);
      }).pipe(Effect.scoped),
  );
});

describe("an endpoint on loopback without a key", () => {
  it.live("rejects every Host that is not a name of loopback", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint();
      for (const host of [
        "evil.example",
        `rebound.example:${port}`,
        `127.0.0.1.evil.example:${port}`,
        `localhost.evil.example:${port}`,
        `evil.example@127.0.0.1:${port}`,
        `127.0.0.1:${port}@evil.example`,
        `192.168.1.5:${port}`,
        `0.0.0.0:${port}`,
        `[::]:${port}`,
        "not a host",
      ]) {
        assert.strictEqual(yield* post(port, { host }), 403, host);
      }
      for (const host of [
        `127.0.0.1:${port}`,
        "127.9.9.9",
        `localhost:${port}`,
        "LOCALHOST:1",
        `worker.localhost:${port}`,
        `[::1]:${port}`,
      ]) {
        assert.strictEqual(yield* post(port, { host }), 200, host);
      }
      const noHost = yield* sendRaw(
        port,
        `POST /run HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
      );
      assert.strictEqual(statusOf(noHost), 403);
      const absolute = rawRequest("POST", "http://evil.example/run", port, BODY);
      assert.strictEqual(statusOf(yield* sendRaw(port, absolute)), 403);
      const ping = yield* ask(port, "/ping", { headers: { host: "evil.example" } });
      assert.strictEqual(ping.status, 403);
    }).pipe(Effect.scoped),
  );

  it.live("rejects every other origin, also with another port or scheme", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint();
      for (const origin of [
        "https://evil.example",
        "null",
        "",
        "file://",
        "http://127.0.0.1",
        `http://127.0.0.1:${port + 1}`,
        `https://127.0.0.1:${port}`,
        `http://localhost:${port}`,
        `http://127.0.0.1:${port}.evil.example`,
        `http://127.0.0.1:${port} http://evil.example`,
      ]) {
        assert.strictEqual(yield* post(port, { origin }), 403, origin);
      }
      const host = `localhost:${port}`;
      for (const headers of [
        { origin: `http://127.0.0.1:${port}` },
        { host, origin: `http://localhost:${port}` },
        { host: "localhost", origin: "http://localhost:80" },
      ]) {
        assert.strictEqual(yield* post(port, headers), 200, headers.origin);
      }
      assert.strictEqual(
        yield* post(port, { host: "evil.example", origin: "http://evil.example" }),
        403,
      );
    }).pipe(Effect.scoped),
  );

  it.live("rejects requests that a browser marks as cross-site", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint();
      for (const site of ["cross-site", "same-site", "Cross-Site", "unknown"]) {
        assert.strictEqual(yield* post(port, { "sec-fetch-site": site }), 403, site);
        const read = yield* ask(port, "/health", { headers: { "sec-fetch-site": site } });
        assert.strictEqual(read.status, 403, site);
      }
      for (const site of ["same-origin", "none"]) {
        assert.strictEqual(yield* post(port, { "sec-fetch-site": site }), 200, site);
      }
    }).pipe(Effect.scoped),
  );
});

describe("an endpoint on an external address without a key", () => {
  it.live("accepts IP addresses, loopback and its own name as Host, but no other name", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint({ host: "0.0.0.0" });
      for (const [host, status] of [
        [`192.168.1.5:${port}`, 200],
        [`[fe80::1]:${port}`, 200],
        [`localhost:${port}`, 200],
        ["rebound.example", 403],
      ] as const) {
        assert.strictEqual(yield* post(port, { host }), status, host);
      }
      const named = yield* endpoint({ host: "localhost" });
      assert.strictEqual(yield* post(named.port, { host: "localhost" }), 200);
    }).pipe(Effect.scoped),
  );

  it.live("accepts any Host behind RunPod's gateway", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint({ host: "0.0.0.0", isBehindGateway: true });
      assert.strictEqual(yield* post(port, { host: "abc123.api.runpod.ai" }), 200);
      assert.strictEqual(yield* post(port, { origin: "https://evil.example" }), 403);
    }).pipe(Effect.scoped),
  );
});

describe("every endpoint", () => {
  it.live("rejects a request with two Host headers on every route", () =>
    Effect.gen(function* () {
      for (const options of [{}, keyed, { host: "0.0.0.0", isBehindGateway: true }]) {
        const { port, queue } = yield* endpoint(options);
        const host = `Host: 127.0.0.1:${port}`;
        for (const other of [host, "Host: evil.example", "hOsT:"]) {
          const more = `Authorization: Bearer ${KEY}\r\n${other}`;
          for (const [method, target] of [
            ["POST", "/run"],
            ["GET", "/ping"],
            ["GET", "/nowhere"],
          ] as const) {
            const request = rawRequest(method, target, port, method === "GET" ? "" : BODY, more);
            const response = yield* sendRaw(port, request);
            assert.strictEqual(statusOf(response), 400, `${target} ${other}`);
            assert.include(response, "more than one Host header");
          }
        }
        assert.strictEqual((yield* queue.counts).IN_QUEUE, 0);
      }
    }).pipe(Effect.scoped),
  );

  it.live("runs one request of a connection at a time, and rejects pipelined requests", () =>
    Effect.gen(function* () {
      const started = yield* Deferred.make<void>();
      const gate = yield* Deferred.make<void>();
      const { port, queue } = yield* endpoint({}, () =>
        Deferred.succeed(started, undefined).pipe(
          Effect.andThen(Deferred.await(gate)),
          Effect.as(EncodedResponse.of(success({}))),
        ),
      );
      const requests = ["/execute", "/run", "/execute", "/run"].map((target) =>
        rawRequest("POST", target, port, BODY).replace("Connection: close\r\n", ""),
      );
      const responses = yield* Effect.forkChild(sendRaw(port, requests.join("")));
      yield* Deferred.await(started);
      yield* Deferred.succeed(gate, undefined);
      const [, first, second] = (yield* Fiber.join(responses)).split("HTTP/1.1 ");
      assert.match(String(first), /^200/);
      assert.match(String(second), /^429[^]*connection: close[^]*send one request at a time/i);
      assert.strictEqual((yield* queue.counts).IN_QUEUE, 0);
    }).pipe(Effect.scoped),
  );

  it.live("accepts a body only as application/json, and rejects a missing content type", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint();
      for (const [type, status] of [
        ["application/json", 200],
        ["Application/JSON; charset=utf-8", 200],
        ["application/json-patch+json", 415],
        ["application/jsonx", 415],
        ["text/plain", 415],
        ["text/plain; application/json", 415],
        ["application/x-www-form-urlencoded", 415],
        ["multipart/form-data; boundary=x", 415],
        ["", 415],
      ] as const) {
        assert.strictEqual(yield* post(port, { "content-type": type }), status, type);
      }
      const head = `POST /run HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n`;
      for (const rest of [
        `Content-Length: ${BODY.length}\r\n\r\n${BODY}`,
        `Transfer-Encoding: chunked\r\n\r\n${chunked(BODY)}`,
      ]) {
        const response = yield* sendRaw(port, head + rest);
        assert.strictEqual(statusOf(response), 415);
        assert.include(response, "Content-Type: application/json");
      }
      // It has no body, so it needs no content type.
      const purge = yield* ask(port, "/purge-queue", { method: "POST" });
      assert.strictEqual(purge.status, 200);
      const form = { "content-type": "text/plain" };
      const simple = yield* ask(port, "/purge-queue", { method: "POST", headers: form });
      assert.strictEqual(simple.status, 415);
    }).pipe(Effect.scoped),
  );

  it.live("responds with 404 to ids that are names of built-in JavaScript properties", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint();
      for (const id of ["constructor", "__proto__", "toString", "hasOwnProperty", "valueOf"]) {
        for (const prefix of ["", "/v2/any"]) {
          for (const route of ["status", "status-sync", "stream"]) {
            const response = yield* ask(port, `${prefix}/${route}/${id}`);
            assert.strictEqual(response.status, 404, `${route}/${id}`);
          }
          for (const route of ["cancel", "retry"]) {
            const response = yield* ask(port, `${prefix}/${route}/${id}`, { method: "POST" });
            assert.strictEqual(response.status, 404, `${route}/${id}`);
          }
        }
        const unknown = yield* ask(port, `/${id}`, { body: {} });
        assert.strictEqual(unknown.status, 404, id);
      }
    }).pipe(Effect.scoped),
  );
});

const emptyResponse = Effect.succeed(HttpServerResponse.empty({ status: 200 }));

/** The exit of a request to a server with one route. */
const outcome = Effect.fnUntraced(function* (
  access: Partial<Access>,
  headers: Readonly<Record<string, string>>,
  {
    method = "POST",
    route = "/run",
    path = route,
    handler = emptyResponse,
  }: {
    readonly method?: "GET" | "POST";
    readonly route?: HttpRouter.PathInput;
    readonly path?: string;
    readonly handler?: Effect.Effect<
      HttpServerResponse.HttpServerResponse,
      unknown,
      HttpServerRequest.HttpServerRequest
    >;
  } = {},
) {
  const whole = { host: "127.0.0.1", keys: [], isBehindGateway: false, ...access };
  const server = yield* HttpRouter.toHttpEffect(
    Layer.merge(
      HttpRouter.add(method, route, handler).pipe(Layer.provide(routeGuard(whole))),
      unknownRouteGuard(whole),
    ),
  );
  const request = HttpServerRequest.fromWeb(
    new Request(`http://server${path}`, {
      method,
      headers: { host: "localhost", "content-type": "application/json", ...headers },
      ...(method === "POST" ? { body: "{}" } : {}),
    }),
  );
  return yield* Effect.exit(
    Effect.provideService(server, HttpServerRequest.HttpServerRequest, request),
  );
}, Effect.scoped);

const statusOfOutcome = (...request: Parameters<typeof outcome>) =>
  Effect.map(Effect.flatten(outcome(...request)), ({ status }) => status);

describe("a guarded server", () => {
  it.effect("accepts its own name as Host in upper and lower case", () =>
    Effect.gen(function* () {
      for (const [host, status] of [
        ["gpu-box.lan", 200],
        ["GPU-BOX.lan:8000", 200],
        ["localhost", 200],
        ["192.168.1.5", 200],
        ["[fd00::5]:8000", 200],
        ["other.lan", 403],
        ["gpu-box.lan.evil.example", 403],
        ["lan", 403],
      ] as const) {
        assert.strictEqual(yield* statusOfOutcome({ host: "Gpu-Box.lan" }, { host }), status, host);
      }
    }),
  );

  it.effect("accepts its key only after the word Bearer, and requests that scheme", () =>
    Effect.gen(function* () {
      for (const [authorization, status] of [
        [`BEARER ${KEY}`, 200],
        [`Bearer  ${KEY}`, 200],
        [`XBearer ${KEY}`, 401],
        [`Basic Bearer ${KEY}`, 401],
        [`Bearer${KEY}`, 401],
        [`Bearer x ${KEY}`, 401],
      ] as const) {
        assert.strictEqual(yield* statusOfOutcome(keyed, { authorization }), status, authorization);
      }
      const refused = yield* Effect.flatten(outcome(keyed, {}));
      assert.strictEqual(refused.headers["www-authenticate"], "Bearer");
    }),
  );

  it.effect("rejects other origins behind a gateway too, whatever the Host", () =>
    Effect.gen(function* () {
      for (const host of ["abc123.api.runpod.ai", "not a host"]) {
        for (const [headers, status] of [
          [{ host }, 200],
          [{ host, origin: "https://evil.example" }, 403],
          [{ host, origin: "null" }, 403],
        ] as const) {
          assert.strictEqual(yield* statusOfOutcome({ isBehindGateway: true }, headers), status);
        }
      }
    }),
  );

  it.effect("parses the content type like HTTP, and only for POST", () =>
    Effect.gen(function* () {
      for (const [method, type, status] of [
        ["POST", "application/json ; charset=utf-8", 200],
        ["POST", " APPLICATION/JSON", 200],
        ["POST", "application/ json", 415],
        ["GET", "text/plain", 200],
      ] as const) {
        const headers = { "content-type": type };
        assert.strictEqual(yield* statusOfOutcome({}, headers, { method }), status, type);
      }
    }),
  );

  it.effect(
    "accepts bodies up to RunPod's limit for the route, and smaller ones on other routes",
    () =>
      Effect.gen(function* () {
        const handler = Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ text }) =>
          Effect.andThen(text, emptyResponse),
        );
        for (const [route, limit] of [
          ["/run", 10],
          ["/runsync", 20],
          ["/execute", 30],
          ["/retry", 1],
        ] as const) {
          const bytes = limit * 1024 * 1024;
          for (const [length, status] of [
            [bytes, 200],
            [bytes + 1, 413],
          ] as const) {
            const headers = { "content-length": String(length) };
            const found = yield* statusOfOutcome({}, headers, { route, handler });
            assert.strictEqual(found, status, `${route} ${length}`);
          }
        }
      }),
  );

  it.effect("checks requests to unknown routes in the same way", () =>
    Effect.gen(function* () {
      for (const [access, headers, status] of [
        [keyed, {}, 401],
        [keyed, { authorization: `Bearer ${KEY}` }, 404],
        [{}, { host: "evil.example" }, 403],
        [{}, {}, 404],
      ] as const) {
        assert.strictEqual(yield* statusOfOutcome(access, headers, { path: "/nowhere" }), status);
      }
    }),
  );

  it.effect("does not change errors of the server itself", () =>
    Effect.gen(function* () {
      const request = HttpServerRequest.fromWeb(new Request("http://localhost/run"));
      for (const error of [
        new Error("a mistake in a handler"),
        new HttpServerError.HttpServerError({
          reason: new HttpServerError.InternalError({ request }),
        }),
      ]) {
        for (const handler of [Effect.fail(error), Effect.die(error)]) {
          const exit = yield* outcome({}, {}, { handler });
          assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === error);
        }
      }
    }),
  );

  it.effect("responds with 400 to an incomplete request", () =>
    Effect.gen(function* () {
      const request = HttpServerRequest.fromWeb(new Request("http://localhost/run"));
      const reason = new HttpServerError.RequestParseError({ request });
      const handler = Effect.fail(new HttpServerError.HttpServerError({ reason }));
      assert.strictEqual(yield* statusOfOutcome({}, {}, { handler }), 400);
    }),
  );

  it.live("names the invalid field of a body in one line, and does not quote the body", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint();
      const { status, text, json } = yield* ask(port, "/run", { body: { policy: { ttl: KEY } } });
      assert.strictEqual(status, 400);
      assert.hasAllKeys(json, ["error"]);
      assert.include(text, "ttl");
      assert.notInclude(text, KEY);
      assert.notInclude(text, String.raw`\n`);
    }).pipe(Effect.scoped),
  );
});

describe("a stopping endpoint", () => {
  it.live("responds to aborted requests with 503, the reason and Retry-After", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make();
      let isExecuting = false;
      const { port } = yield* endpoint({}, () =>
        Effect.andThen(
          Effect.sync(() => {
            isExecuting = true;
          }),
          Effect.never,
        ),
      ).pipe(Scope.provide(scope));
      const executing = yield* Effect.forkChild(ask(port, "/execute", { body: {} }));
      yield* eventually(() => isExecuting);
      yield* Scope.close(scope, Exit.void);
      const { status, headers, json } = yield* Fiber.join(executing);
      assert.strictEqual(status, 503);
      assert.strictEqual(headers["retry-after"], "5");
      assert.hasAllKeys(json, ["error"]);
    }),
  );

  it.live("responds to new jobs with the reason why it rejects them", () =>
    Effect.gen(function* () {
      const { port, drain } = yield* endpoint();
      yield* drain.begin;
      const { status, text } = yield* ask(port, "/run", { body: { input: 1 } });
      assert.strictEqual(status, 503);
      assert.include(text, "accepts no new requests");
    }).pipe(Effect.scoped),
  );
});
