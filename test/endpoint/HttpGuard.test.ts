import { assert, describe, it } from "@effect/vitest";
import { Effect, Redacted } from "effect";

import { endpoint } from "../support/Endpoint.ts";
import { ask, sendRaw } from "../support/Http.ts";

const KEY = "a-long-key-of-this-endpoint";
const TOKEN = "the-token-that-jobs-are-given";

const keyed = { keys: [Redacted.make(KEY), Redacted.make(TOKEN)] };

const BODY = JSON.stringify({ input: 1 });

/** Request targets that once reached a route, or look as if they named a public one. */
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

/** GET routes that tell about jobs or change what a client sees. */
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

const statusOf = (answer: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0);

const post = (port: number, headers: Readonly<Record<string, string>>) =>
  Effect.map(ask(port, "/run", { body: { input: 1 }, headers }), ({ status }) => status);

describe("an endpoint with a key", () => {
  it.live(
    "answers 401 to every request without the key, whatever its target looks like",
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
          const answer = yield* sendRaw(port, rawRequest(method, target, port, body, more));
          assert.strictEqual(statusOf(answer), 401, `${method} ${target} ${more}`);
          assert.notInclude(answer, KEY);
          if (method !== "HEAD") assert.include(answer, "Authorization: Bearer <key>");
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
        const answer = yield* ask(port, "/health", { headers: { authorization } });
        assert.strictEqual(answer.status, status, authorization);
      }
    }).pipe(Effect.scoped),
  );

  it.live("answers /ping and /docs without a key", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint(keyed);
      assert.strictEqual((yield* ask(port, "/ping")).status, 204);
      assert.strictEqual((yield* ask(port, "/v2/any/ping")).status, 204);
      assert.strictEqual((yield* ask(port, "/docs")).status, 200);
    }).pipe(Effect.scoped),
  );

  it.live(
    "accepts any Host where it listens for other machines: a page does not have the key",
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
  it.live("refuses every Host that is not a name of loopback", () =>
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

  it.live("refuses pages of every other origin, also on another port or scheme", () =>
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

  it.live("refuses requests that a browser marks as sent by another site", () =>
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

describe("an endpoint for other machines without a key", () => {
  it.live("answers under addresses, loopback and its own name, but under no other name", () =>
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

  it.live("answers under any name behind RunPod's gateway, which has its own", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint({ host: "0.0.0.0", isBehindGateway: true });
      assert.strictEqual(yield* post(port, { host: "abc123.api.runpod.ai" }), 200);
      assert.strictEqual(yield* post(port, { origin: "https://evil.example" }), 403);
    }).pipe(Effect.scoped),
  );
});

describe("every endpoint", () => {
  it.live("accepts a body only as application/json, and refuses a missing content type", () =>
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
        const answer = yield* sendRaw(port, head + rest);
        assert.strictEqual(statusOf(answer), 415);
        assert.include(answer, "Content-Type: application/json");
      }
      // It has no body, so it needs no content type.
      const purge = yield* ask(port, "/purge-queue", { method: "POST" });
      assert.strictEqual(purge.status, 200);
      const form = { "content-type": "text/plain" };
      const simple = yield* ask(port, "/purge-queue", { method: "POST", headers: form });
      assert.strictEqual(simple.status, 415);
    }).pipe(Effect.scoped),
  );

  it.live("answers 404 for ids that are names of JavaScript's own properties", () =>
    Effect.gen(function* () {
      const { port } = yield* endpoint();
      for (const id of ["constructor", "__proto__", "toString", "hasOwnProperty", "valueOf"]) {
        for (const prefix of ["", "/v2/any"]) {
          for (const route of ["status", "status-sync", "stream"]) {
            const answer = yield* ask(port, `${prefix}/${route}/${id}`);
            assert.strictEqual(answer.status, 404, `${route}/${id}`);
          }
          for (const route of ["cancel", "retry"]) {
            const answer = yield* ask(port, `${prefix}/${route}/${id}`, { method: "POST" });
            assert.strictEqual(answer.status, 404, `${route}/${id}`);
          }
        }
        const unknown = yield* ask(port, `/${id}`, { body: {} });
        assert.strictEqual(unknown.status, 404, id);
      }
    }).pipe(Effect.scoped),
  );
});
