import { once } from "node:events";
import { type IncomingMessage, request, type RequestOptions, type ServerResponse } from "node:http";
import type { Socket } from "node:net";

import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Exit, Fiber, Scope } from "effect";

import { eventually, isDone } from "../../support/effects/Waiting.ts";
import { openConnection } from "../../support/http/Connection.ts";
import { ask, sendRaw } from "../../support/http/HttpRequest.ts";
import { bodyOf } from "../../support/http/LoopbackServer.ts";
import { testApp } from "../../support/http/TestApp.ts";

const MIB = 1024 * 1024;

/** Responds with the method, path, headers and body of each request. */
const echo = (request: IncomingMessage, response: ServerResponse) => {
  void bodyOf(request).then((body) => {
    const { method, url, rawHeaders } = request;
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ method, url, rawHeaders, body }));
  });
};

/** The headers of an echoed request as a list of `name: value`, with lower-case names. */
const echoedHeaders = (json: unknown): ReadonlyArray<string> => {
  const { rawHeaders } = json as { readonly rawHeaders: ReadonlyArray<string> };
  return rawHeaders.flatMap((name, index) =>
    index % 2 === 0 ? [`${name.toLowerCase()}: ${rawHeaders[index + 1]}`] : [],
  );
};

/** A request whose body the test writes, and whose response it reads. */
const open = (port: number, options: RequestOptions) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const sent = request({ host: "127.0.0.1", port, agent: false, ...options });
      sent.on("error", () => {});
      return sent;
    }),
    (sent) => Effect.sync(() => sent.destroy()),
  );

const responseOf = (sent: ReturnType<typeof request>) =>
  Effect.promise(async () => {
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    return response;
  });

const expecting = (path: string) =>
  `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n`;

const upgrade = (path: string, more = "") =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n${more}`;

/** The bytes that a connection has received. */
const received = (socket: NodeJS.ReadableStream) => {
  const parts: Array<Buffer> = [];
  socket.on("data", (part: Buffer) => parts.push(part));
  return () => Buffer.concat(parts).toString();
};

describe("AppProxy", () => {
  it.live("passes requests and responses through, without the headers of a connection", () =>
    Effect.gen(function* () {
      const { port } = yield* testApp(echo);
      const text = yield* sendRaw(
        port,
        [
          "PATCH /a%20b//c?x=1&x=2 HTTP/1.1",
          "Host: abc.api.runpod.ai",
          "X-Forwarded-For: 1.2.3.4",
          "X-Forwarded-Proto: https",
          "X-Tag: one",
          "X-Tag: two",
          "Keep-Alive: 5",
          "TE: trailers",
          "X-Hop: 1",
          "Connection: close, x-hop, host, content-length",
          "Content-Length: 4",
          "",
          "body",
        ].join("\r\n"),
      );
      assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
      assert.include(text, "X-Runpod-Worker-Id: worker-1\r\n");
      const json: unknown = JSON.parse(/\{.*\}/.exec(text)?.[0] ?? "");
      assert.deepInclude(json, { method: "PATCH", url: "/a%20b//c?x=1&x=2", body: "body" });
      const headers = echoedHeaders(json);
      assert.includeMembers(
        [...headers],
        [
          "host: abc.api.runpod.ai",
          "x-forwarded-for: 1.2.3.4",
          "x-forwarded-proto: https",
          "x-tag: one",
          "x-tag: two",
          "content-length: 4",
        ],
      );
      assert.notMatch(headers.join("\n"), /^(te|x-hop|keep-alive|transfer-encoding):/m);
    }).pipe(Effect.scoped),
  );

  it.live("adds the address of the client and a host, if the gateway sends neither", () =>
    Effect.gen(function* () {
      const { port } = yield* testApp(echo);
      const text = yield* sendRaw(port, "GET / HTTP/1.0\r\n\r\n");
      assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
      const headers = echoedHeaders(JSON.parse(/\{.*\}/.exec(text)?.[0] ?? ""));
      assert.includeMembers([...headers], ["host: localhost", "x-forwarded-for: 127.0.0.1"]);
    }).pipe(Effect.scoped),
  );

  it.live("passes as many bytes of headers as the app's server accepts", () =>
    Effect.gen(function* () {
      const { port } = yield* testApp((request, response) => {
        response.writeHead(200, { "x-large": String(request.headers["x-large"]) }).end();
      });
      const value = "x".repeat(48 * 1024);
      const text = yield* sendRaw(
        port,
        `GET / HTTP/1.1\r\nHost: a\r\nX-Large: ${value}\r\nConnection: close\r\n\r\n`,
      );
      assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
      assert.include(text, value);
    }).pipe(Effect.scoped),
  );

  it.live("keeps how the length of a body is announced", () =>
    Effect.gen(function* () {
      const { port } = yield* testApp(echo);
      const chunked = yield* ask(port, "/", { body: { a: 1 }, chunked: true });
      assert.deepInclude(chunked.json, { body: '{"a":1}' });
      assert.include(echoedHeaders(chunked.json), "transfer-encoding: chunked");
      const empty = yield* ask(port, "/", { method: "POST" });
      assert.include(echoedHeaders(empty.json), "content-length: 0");
      const get = yield* ask(port, "/");
      assert.notMatch(echoedHeaders(get.json).join(), /content-length|transfer-encoding/);
    }).pipe(Effect.scoped),
  );

  it.live("passes responses without a body, repeated headers and unusual states", () =>
    Effect.gen(function* () {
      const { port } = yield* testApp(({ method, url }, response) => {
        if (method === "HEAD") response.writeHead(200, { "content-length": "5" }).end();
        else if (url === "/cookies") {
          response.writeHead(418, "Teapot", ["Set-Cookie", "a=1", "Set-Cookie", "b=2"]).end("tea");
        } else response.writeHead(Number(url?.slice(1)), { etag: '"x"' }).end();
      });
      const head = yield* sendRaw(port, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      assert.match(head, /content-length: 5\r\n/i);
      assert.match(head, /\r\n\r\n$/);
      for (const status of [204, 304]) {
        const result = yield* ask(port, `/${status}`);
        assert.deepInclude(result, { status, text: "" });
        assert.strictEqual(result.headers.etag, '"x"');
      }
      const cookies = yield* ask(port, "/cookies");
      assert.deepInclude(cookies, { status: 418, text: "tea" });
      assert.deepStrictEqual(cookies.headers["set-cookie"], ["a=1", "b=2"]);
    }).pipe(Effect.scoped),
  );

  it.live("sends each part of a streamed response at once, and the headers before the first", () =>
    Effect.gen(function* () {
      const responses: Array<ServerResponse> = [];
      const { port } = yield* testApp((_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
        responses.push(response);
      });
      const sent = yield* open(port, { path: "/events" });
      sent.end();
      const response = yield* responseOf(sent);
      for (const event of ["data: 1\n\n", "data: 2\n\n"]) {
        responses[0]?.write(event);
        const [part] = yield* Effect.promise(() => once(response, "data"));
        assert.strictEqual(String(part), event);
      }
      responses[0]?.end();
      yield* Effect.promise(() => once(response, "end"));
    }).pipe(Effect.scoped),
  );

  it.live("reads a body only as fast as the app does", () =>
    Effect.gen(function* () {
      const requests: Array<IncomingMessage> = [];
      const { port } = yield* testApp((request) => void requests.push(request));
      const sent = yield* open(port, { method: "POST", headers: { "content-length": 256 * MIB } });
      const part = Buffer.alloc(MIB);
      yield* eventually(() => {
        if (sent.writableLength === 0) sent.write(part);
        return requests.length > 0 && sent.writableLength > 0 && sent.writableNeedDrain;
      });
      let sentBytes = 0;
      // The buffers of the connections are full when a part is not sent any more.
      while (sent.writableLength < 4 * MIB) {
        sent.write(part);
        sentBytes += part.length;
        yield* Effect.yieldNow;
        assert.isBelow(sentBytes, 64 * MIB);
      }
      // The app reads, and the rest follows.
      let received = 0;
      requests[0]?.on("data", ({ length }: Buffer) => (received += length));
      yield* eventually(() => sent.writableLength === 0);
      yield* eventually(() => received >= sentBytes);
    }).pipe(Effect.scoped),
  );

  it.live("passes a response that the app sends before it has read the body", () =>
    Effect.gen(function* () {
      // Like uvicorn: after `Connection: close`, it closes the connection although the body was not read.
      const { port } = yield* testApp(({ headers, socket }, response) => {
        response.writeHead(413).end("too large", () => {
          if (headers.connection === "close") socket.destroy();
        });
      });
      for (let count = 0; count < 5; count += 1) {
        const body = "x".repeat(10 * MIB);
        assert.deepInclude(yield* ask(port, "/", { body }), { status: 413, text: "too large" });
      }
    }).pipe(Effect.scoped),
  );

  it.live("reads a response only as fast as the client does", () =>
    Effect.gen(function* () {
      let written = 0;
      let isBlocked = false;
      const { port } = yield* testApp((_, response) => {
        const write = () => {
          while (written < 256 * MIB) {
            written += MIB;
            if (!response.write(Buffer.alloc(MIB))) {
              isBlocked = true;
              response.once("drain", () => {
                isBlocked = false;
                write();
              });
              return;
            }
          }
        };
        write();
      });
      const socket = yield* openConnection(port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      yield* Effect.promise(() => once(socket, "readable"));
      let before = -1;
      yield* eventually(() => {
        const isSame = written === before && isBlocked;
        before = written;
        return isSame;
      });
      assert.isBelow(written, 64 * MIB);
    }).pipe(Effect.scoped),
  );

  it.live("asks a client for its body only when the app wants it", () =>
    Effect.gen(function* () {
      const { port, app } = yield* testApp(echo);
      app.server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
        if (request.url === "/no") {
          response.writeHead(413).end("too large");
          return;
        }
        response.writeContinue();
        echo(request, response);
      });
      const refused = yield* sendRaw(port, expecting("/no"));
      assert.match(refused, /^HTTP\/1\.1 413 /);
      assert.match(refused, /connection: close\r\n/i);
      const socket = yield* openConnection(port, expecting("/yes"));
      const [first] = yield* Effect.promise(() => once(socket, "data"));
      assert.match(String(first), /^HTTP\/1\.1 100 Continue\r\n\r\n$/);
      socket.write("body");
      const [second] = yield* Effect.promise(() => once(socket, "data"));
      assert.match(String(second), /^HTTP\/1\.1 200 [^]*"body":"body"/);
    }).pipe(Effect.scoped),
  );

  it.live("closes the connection to the app when the client disconnects", () =>
    Effect.gen(function* () {
      const open = new Set<string>();
      const { port } = yield* testApp(({ url = "" }, response) => {
        open.add(url);
        response.once("close", () => open.delete(url));
        if (url === "/started") response.writeHead(200).write("part");
      });
      for (const path of ["/waiting", "/started"]) {
        const socket = yield* openConnection(port, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
        yield* eventually(() => open.has(path));
        if (path === "/started") yield* Effect.promise(() => once(socket, "data"));
        socket.destroy();
        yield* eventually(() => !open.has(path));
      }
    }).pipe(Effect.scoped),
  );

  it.live("closes the connection of the client when the app ends in the middle of a response", () =>
    Effect.gen(function* () {
      const { port, app } = yield* testApp((_, response) => {
        response.writeHead(200, { "content-length": "100" }).write("part");
      });
      const sent = yield* open(port, { path: "/" });
      sent.end();
      const response = yield* responseOf(sent);
      const failed = Effect.promise(async () => {
        const [error] = (await once(response, "error")) as [NodeJS.ErrnoException];
        return error.code;
      });
      const fiber = yield* Effect.forkChild(failed);
      response.resume();
      yield* app.kill;
      assert.strictEqual(yield* Fiber.join(fiber), "ECONNRESET");
    }).pipe(Effect.scoped),
  );

  it.live("responds with 502 and the reason when the app ends before it responds", () =>
    Effect.gen(function* () {
      const seen: Array<string> = [];
      const { port, app, end } = yield* testApp(({ url }) => void seen.push(url ?? ""));
      const asking = yield* Effect.forkChild(ask(port, "/work", { body: {} }));
      yield* eventually(() => seen.length === 1);
      yield* app.kill;
      yield* Deferred.succeed(end, "Python was killed by SIGKILL.");
      const response = yield* Fiber.join(asking);
      assert.strictEqual(response.status, 502);
      assert.include(response.text, "killed by SIGKILL");
      // Nothing listens any more.
      assert.strictEqual((yield* ask(port, "/later")).status, 502);
    }).pipe(Effect.scoped),
  );

  it.live("opens a connection for each request, since the app may close it without notice", () =>
    Effect.gen(function* () {
      const sockets = new Set<Socket>();
      const { port, app } = yield* testApp(({ socket }, response) => {
        sockets.add(socket);
        response.end("done");
      });
      for (let count = 1; count <= 3; count += 1) {
        assert.strictEqual((yield* ask(port, "/")).text, "done");
        assert.strictEqual(sockets.size, count);
      }
      yield* eventually(() => app.connections() === 0);
    }).pipe(Effect.scoped),
  );

  it.live("rejects requests whose framing or target is ambiguous", () =>
    Effect.gen(function* () {
      const paths: Array<string> = [];
      const { port } = yield* testApp(({ url }, response) => {
        paths.push(url ?? "");
        response.end();
      });
      const smuggled = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n";
      const cases = [
        `${smuggled}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`,
        `${smuggled}Content-Length: 5\r\n\r\nbody1`,
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        "GET ftp://a/execute HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
      ];
      for (const bytes of cases) {
        assert.match(yield* sendRaw(port, bytes), /^HTTP\/1\.1 400 /, bytes);
      }
      assert.deepStrictEqual(paths, []);
    }).pipe(Effect.scoped),
  );

  describe("for WebSockets", () => {
    /** An app that accepts upgrades to /ws and sends back what it receives. */
    const echoApp = Effect.gen(function* () {
      const test = yield* testApp((_, response) => response.writeHead(403).end("no"));
      const closed: Array<string> = [];
      test.app.server.on("upgrade", (request, socket, head) => {
        if (request.url !== "/ws") {
          socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
          return;
        }
        socket.on("error", () => {});
        socket.once("close", () => closed.push("app"));
        const { upgrade, "sec-websocket-key": key } = request.headers;
        socket.write(
          `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${upgrade}\r\nX-Key: ${key}\r\n\r\nhello `,
        );
        socket.write(head);
        socket.pipe(socket);
      });
      return { ...test, closed };
    });

    it.live("connects both ends, with the bytes that came with the handshake", () =>
      Effect.gen(function* () {
        const { port, closed } = yield* echoApp;
        const socket = yield* openConnection(port, upgrade("/ws", "first "));
        const text = received(socket);
        yield* eventually(() => text().endsWith("\r\n\r\nhello first "));
        assert.match(text(), /^HTTP\/1\.1 101 Switching Protocols\r\n/);
        assert.match(text(), /X-Key: x\r\n/);
        assert.match(text(), /X-Runpod-Worker-Id: worker-1\r\n/);
        socket.write("second");
        yield* eventually(() => text().endsWith("hello first second"));
        socket.destroy();
        yield* eventually(() => closed.length === 1);
      }).pipe(Effect.scoped),
    );

    it.live("do not disturb the worker when they follow a request without a response", () =>
      Effect.gen(function* () {
        const { port } = yield* testApp((request, response) => {
          if (request.url === "/") response.end("works");
        });
        const first = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
        const socket = yield* openConnection(port, first + upgrade("/ws"));
        assert.strictEqual((yield* ask(port, "/")).text, "works");
        socket.destroy();
        assert.strictEqual((yield* ask(port, "/")).text, "works");
      }).pipe(Effect.scoped),
    );

    it.live("passes the response of an app that refuses the upgrade", () =>
      Effect.gen(function* () {
        const { port } = yield* echoApp;
        const text = yield* sendRaw(port, upgrade("/other"));
        assert.match(text, /^HTTP\/1\.1 403 Forbidden\r\n[^]*\r\n\r\nno$/);
      }).pipe(Effect.scoped),
    );

    it.live("closes the client's connection when the app's process ends", () =>
      Effect.gen(function* () {
        const { port, app } = yield* echoApp;
        const socket = yield* openConnection(port, upgrade("/ws"));
        const text = received(socket);
        yield* eventually(() => text().endsWith("hello "));
        yield* app.kill;
        yield* eventually(() => socket.closed);
      }).pipe(Effect.scoped),
    );

    it.live("counts as a request until it closes, and closes with the server", () =>
      Effect.gen(function* () {
        const server = yield* Scope.make();
        const { port, drain } = yield* Scope.provide(echoApp, server);
        const socket = yield* openConnection(port, upgrade("/ws"));
        const text = received(socket);
        yield* eventually(() => text().endsWith("hello "));
        const finished = yield* Effect.forkChild(drain.requestsFinished);
        yield* ask(port, "/").pipe(Effect.flatMap(() => Effect.yieldNow));
        assert.isFalse(isDone(finished));
        yield* Scope.close(server, Exit.void);
        yield* eventually(() => socket.closed);
        yield* Fiber.join(finished);
      }).pipe(Effect.scoped),
    );
  });
});
