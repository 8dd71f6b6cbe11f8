import { type IncomingMessage, type ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";

import { NodeHttpClient } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Exit, Fiber, Layer, Option, Stream } from "effect";
import { HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http";
import { TestClock } from "effect/testing";

import { EndpointClient } from "../../../src/cli/remote/EndpointClient.ts";
import { MaxResponseSize } from "../../../src/cli/remote/ResponseBody.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { loopbackServer } from "../../support/http/LoopbackServer.ts";

const KEY = "a-key-that-nobody-may-see";

interface RecordedRequest {
  readonly path: string;
  readonly key: string | undefined;
}

/** A server that handles requests with the given function and records them. */
const serverOf = (handle: (request: IncomingMessage, response: ServerResponse) => void) =>
  Effect.suspend(() => {
    const requests: Array<RecordedRequest> = [];
    return Effect.map(
      loopbackServer((request, response) => {
        requests.push({ path: request.url ?? "", key: request.headers.authorization });
        request.resume();
        handle(request, response);
      }),
      ({ url }) => ({ url, requests }),
    );
  });

const respondWith =
  (body: string | Buffer, headers: Readonly<Record<string, string>> = {}, status = 200) =>
  (_: IncomingMessage, response: ServerResponse) => {
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
  };

const layerOf = (url: string, endpoint = "any") =>
  EndpointClient.layer(endpoint, Option.some(url)).pipe(
    Layer.provide([NodeHttpClient.layerUndici, Environment.layerOf({ RUNPOD_API_KEY: KEY })]),
  );

const failureOf = (url: string, endpoint?: string) =>
  Effect.gen(function* () {
    const client = yield* EndpointClient;
    return yield* client.status(yield* client.run({}));
  }).pipe(
    Effect.provide(layerOf(url, endpoint)),
    Effect.flip,
    Effect.map(({ message }) => message),
  );

/** The error of a status request after this time of the test clock. */
const endAfter = (
  seconds: number,
  response: Effect.Effect<HttpClientResponse.HttpClientResponse>,
) =>
  Effect.gen(function* () {
    const requested = yield* Deferred.make<void>();
    const http = Layer.succeed(
      HttpClient.HttpClient,
      HttpClient.make(() => Effect.andThen(Deferred.succeed(requested, undefined), response)),
    );
    const call = yield* Effect.flatMap(EndpointClient, (client) => client.status("a")).pipe(
      Effect.provide(
        EndpointClient.layer("any", Option.some("http://127.0.0.1:1")).pipe(
          Layer.provide([http, Environment.layerOf({ RUNPOD_API_KEY: KEY })]),
        ),
      ),
      Effect.flip,
      Effect.forkChild,
    );
    yield* Deferred.await(requested);
    yield* TestClock.adjust({ seconds });
    return (yield* Fiber.join(call)).message;
  });

/** Instead of 64 MiB; larger than the bodies that are too complex. */
const MAX_SIZE = 4 * 1024 * 1024;

/** Response bodies that the client must not trust or read to the end. */
const BODIES = {
  "that never ends": () => (_: IncomingMessage, response: ServerResponse) => {
    const piece = Buffer.alloc(64 * 1024, " ");
    const write = () => {
      while (!response.destroyed && response.write(piece));
    };
    response.writeHead(200).on("drain", write);
    write();
  },
  "that is only small while compressed": () =>
    respondWith(gzipSync(Buffer.alloc(2 * MAX_SIZE, " ")), { "content-encoding": "gzip" }),
  "that is nested too deeply": () => respondWith("[".repeat(1_000_000) + "]".repeat(1_000_000)),
  "with a million lists": () => respondWith(`[${"[],".repeat(1_000_000)}0]`),
  "with an unknown compression": () => respondWith("{}", { "content-encoding": "gzip, gzip" }),
  "that does not match its Content-Encoding": () => respondWith("{}", { "content-encoding": "br" }),
  "that is not JSON": () => respondWith("<html>"),
  "that is JSON of another kind": () => respondWith('[{"id": 3}]'),
};

describe("EndpointClient", () => {
  it.live("submits a job, requests its status, reads its stream, and cancels it", () =>
    Effect.gen(function* () {
      const { url, requests } = yield* serverOf((request, response) => {
        const isStream = request.url?.includes("/stream/") === true;
        const body = isStream
          ? { status: "COMPLETED", stream: [{ output: 1 }, { output: 2 }] }
          : { id: "job-1_a", status: "COMPLETED" };
        respondWith(JSON.stringify(body))(request, response);
      });
      yield* Effect.gen(function* () {
        const client = yield* EndpointClient;
        const id = yield* client.run({ a: 1 });
        assert.deepInclude(yield* client.status(id), { status: "COMPLETED" });
        const values = yield* Stream.runCollect(client.stream(id));
        assert.deepStrictEqual([...values], [{ output: 1 }, { output: 2 }]);
        yield* client.cancel(id);
      }).pipe(Effect.provide(layerOf(url)));
      assert.deepStrictEqual(
        requests.map(({ path }) => path),
        ["run", "status/job-1_a", "stream/job-1_a", "cancel/job-1_a"].map((p) => `/v2/any/${p}`),
      );
      assert.isTrue(requests.every(({ key }) => key === `Bearer ${KEY}`));
    }).pipe(Effect.scoped),
  );

  it.live.each([
    "../../../v1/admin",
    "..",
    ".",
    "",
    "a/b",
    "a%2fb",
    "%2e%2e",
    "a?x=1",
    "a#b",
    "a\\b",
    "@evil.example",
    "//evil.example/x",
    "http://evil.example/",
    "a\nb",
    "a\u0000b",
    "\u202ea",
    "é",
    "a".repeat(200),
    " a",
  ])("rejects %j as a job id, and sends no request with it", (id) =>
    Effect.gen(function* () {
      const { url, requests } = yield* serverOf(
        respondWith(JSON.stringify({ id, status: "IN_QUEUE" })),
      );
      assert.include(yield* failureOf(url), "the job id is invalid");
      assert.deepStrictEqual(
        requests.map(({ path }) => path),
        ["/v2/any/run"],
      );
    }).pipe(Effect.scoped),
  );

  it.live.each(["../x", "..", "a/b", "", "a?b", "%2e%2e"])(
    "rejects %j as an endpoint id",
    (endpoint) =>
      Effect.gen(function* () {
        const { url, requests } = yield* serverOf(respondWith("{}"));
        assert.include(yield* failureOf(url, endpoint), "is not a valid endpoint ID");
        assert.lengthOf(requests, 0);
      }).pipe(Effect.scoped),
  );

  it.live.each([
    "ftp://host/",
    "file:///etc/passwd",
    "nonsense",
    "http://user:password@127.0.0.1:1",
    "http://127.0.0.1:1/?a=b",
  ])("rejects %j as a URL, without showing a password", (url) =>
    Effect.gen(function* () {
      const message = yield* failureOf(url);
      assert.include(message, "--url: expected a URL");
      assert.notInclude(message, "password@");
    }),
  );

  it.live.each([301, 302, 303, 307, 308])(
    "does not follow a redirect with status %i to another host or path",
    (status) =>
      Effect.gen(function* () {
        const other = yield* serverOf(
          respondWith(JSON.stringify({ id: "a", status: "COMPLETED" })),
        );
        const away = yield* serverOf(
          respondWith("", { location: `${other.url}/v2/any/run` }, status),
        );
        const message = yield* failureOf(away.url);
        assert.include(message, `it redirects to another host, ${new URL(other.url).host}`);
        assert.lengthOf(other.requests, 0);
        const within = yield* serverOf(respondWith("", { location: "/v1/admin" }, status));
        assert.include(yield* failureOf(within.url), "it redirects to another path");
        assert.lengthOf(within.requests, 1);
      }).pipe(Effect.scoped),
  );

  it.live.each([
    ["that never ends", "larger than 4 MiB"],
    ["that is only small while compressed", "larger than 4 MiB"],
    ["that is nested too deeply", "nested deeper than"],
    ["with a million lists", "lists, objects and strings"],
    ["with an unknown compression", "unknown compression"],
    ["that does not match its Content-Encoding", "it can't be decompressed"],
    ["that is not JSON", "Invalid JSON"],
    ["that is JSON of another kind", "not the response of a RunPod endpoint"],
  ] as const)("rejects a body %s", ([what, reason]) =>
    Effect.gen(function* () {
      const { url } = yield* serverOf(BODIES[what]());
      assert.include(yield* failureOf(url), reason);
    }).pipe(Effect.scoped, Effect.provideService(MaxResponseSize, MAX_SIZE)),
  );

  it.live("rejects a body of more than 64 MiB by its Content-Length", () =>
    Effect.gen(function* () {
      const { url } = yield* serverOf((_, response) => {
        response.writeHead(200, { "content-length": String(10 ** 12) }).write("{");
      });
      assert.include(yield* failureOf(url), "larger than 64 MiB");
    }).pipe(Effect.scoped),
  );

  it.live("reads compressed bodies", () =>
    Effect.gen(function* () {
      const { url } = yield* serverOf(
        respondWith(gzipSync('{"id": "a", "status": "FAILED"}'), { "content-encoding": "gzip" }),
      );
      const job = yield* Effect.flatMap(EndpointClient, (client) => client.status("a")).pipe(
        Effect.provide(layerOf(url)),
      );
      assert.deepInclude(job, { status: "FAILED" });
    }).pipe(Effect.scoped),
  );

  describe("times out for a server", () => {
    it.effect("that does not respond", () =>
      Effect.gen(function* () {
        assert.include(yield* endAfter(16, Effect.never), "there was no response in time");
      }),
    );

    it.effect("that sends one byte per second", () =>
      Effect.gen(function* () {
        const drip = Stream.tick("1 second").pipe(Stream.map(() => new Uint8Array([0x20])));
        const body = Stream.toReadableStream(drip);
        const response = Effect.sync(() =>
          HttpClientResponse.fromWeb(
            HttpClientRequest.get("http://127.0.0.1:1"),
            new Response(body),
          ),
        );
        assert.include(yield* endAfter(140, response), "the response was not complete in time");
      }),
    );
  });

  it.live("never shows the API key, whatever the server responds", () =>
    Effect.gen(function* () {
      for (const status of [200, 301, 400, 401, 404, 413, 429, 500]) {
        const { url } = yield* serverOf((request, response) =>
          respondWith(
            JSON.stringify({ error: request.headers.authorization }),
            { location: `http://x.example/${request.headers.authorization}` },
            status,
          )(request, response),
        );
        assert.notInclude(yield* failureOf(url), KEY);
      }
    }).pipe(Effect.scoped),
  );

  it.live("closes the connection when the caller is interrupted", () =>
    Effect.gen(function* () {
      const started = yield* Deferred.make<void>();
      const closed = yield* Deferred.make<void>();
      const { url } = yield* serverOf((_, response) => {
        Deferred.doneUnsafe(started, Exit.void);
        response.once("close", () => Deferred.doneUnsafe(closed, Exit.void));
      });
      const fiber = yield* Effect.forkChild(failureOf(url));
      yield* Deferred.await(started);
      yield* Fiber.interrupt(fiber);
      yield* Deferred.await(closed);
      assert.isTrue(Deferred.isDoneUnsafe(closed));
    }).pipe(Effect.scoped),
  );

  it.live("sends no request for a job id with a path to another route", () =>
    Effect.gen(function* () {
      const { url, requests } = yield* serverOf(respondWith(JSON.stringify({ id: "../a" })));
      yield* Effect.gen(function* () {
        const client = yield* EndpointClient;
        for (const call of [
          client.run({}),
          client.status("../../../v1/admin"),
          client.cancel("../../../v1/admin"),
          Stream.runDrain(client.stream("../../../v1/admin")),
        ] as const) {
          const { message } = yield* Effect.flip(Effect.asVoid(call));
          assert.include(message, "the job id is invalid");
        }
      }).pipe(Effect.provide(layerOf(url)));
      assert.deepStrictEqual(
        requests.map(({ path }) => path),
        ["/v2/any/run"],
      );
    }).pipe(Effect.scoped),
  );
});
