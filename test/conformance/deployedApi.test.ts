import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { apiWorker } from "../support/clients/DeployedApp.ts";
import { poll } from "../support/effects/Waiting.ts";
import { IS_FULL } from "../support/values/FullLength.ts";

/** Sends a request; the body of the answer is parsed if it is JSON. */
const ask = (url: string, init: RequestInit = {}) =>
  Effect.promise(async () => {
    const response = await fetch(url, init);
    const text = await response.text();
    const isJson = response.headers.get("content-type") === "application/json";
    const body: unknown = isJson ? JSON.parse(text) : text;
    return { status: response.status, body };
  });

const send = (url: string, method: string, body: unknown) =>
  ask(url, {
    method,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });

/** Waits until the app accepts requests. */
const ready = (url: string) => poll(ask(`${url}/ping`), ({ status }) => status === 200);

describe("a load-balanced app that Flash has deployed", () => {
  it.live("answers requests as FastAPI does", () =>
    Effect.gen(function* () {
      const { url } = yield* apiWorker("flash", "web", { FLASH_ENDPOINT_TYPE: "lb" });
      yield* ready(url);
      const form = new FormData();
      form.set("data", new Blob(["0123456789"]));
      form.set("name", "digits");
      const seen = {
        path: yield* ask(`${url}/items/7?plural=true`),
        body: yield* send(`${url}/sum`, "POST", { a: 2, b: 3 }),
        both: yield* send(`${url}/shelves/top`, "PUT", { count: 4 }),
        model: yield* send(`${url}/orders`, "POST", { article: "pen", amount: 2 }),
        stream: yield* ask(`${url}/stream?count=2`),
        missing: yield* ask(`${url}/nowhere`),
      };
      assert.deepStrictEqual(seen, {
        path: { status: 200, body: { item: 7, plural: true } },
        body: { status: 200, body: { sum: 5 } },
        both: { status: 200, body: { shelf: "top", count: 4 } },
        model: { status: 200, body: { ordered: ["pen", "pen"] } },
        stream: { status: 200, body: "line 0\nline 1\n" },
        missing: { status: 404, body: { detail: "Not Found" } },
      });
      assert.strictEqual((yield* send(`${url}/orders`, "POST", { amount: 2 })).status, 422);
      assert.strictEqual((yield* ask(`${url}/failing`)).status, 500);
      const file = yield* ask(`${url}/files`, { method: "POST", body: form });
      assert.deepInclude(file.body, { name: "digits", size: 10 });
    }).pipe(Effect.scoped),
  );

  it.live("refuses to run the code of a request to /execute", () =>
    Effect.gen(function* () {
      const { url } = yield* apiWorker("flash", "web", { FLASH_ENDPOINT_TYPE: "lb" });
      yield* ready(url);
      const request = { function_name: "f", function_code: "def f(): return 1" };
      assert.strictEqual((yield* send(`${url}/execute`, "POST", request)).status, 403);
    }).pipe(Effect.scoped),
  );
});

// Building its artifact takes 40 seconds.
describe.skipIf(!IS_FULL)("an API that SDK 2.0 has deployed", () => {
  it.live("calls the routes of one instance of the class", () =>
    Effect.gen(function* () {
      const { url } = yield* apiWorker("sdk-api", "web");
      yield* ready(url);
      const first = yield* send(`${url}/sum`, "POST", { a: 2, b: 3 });
      assert.deepStrictEqual(first, { status: 200, body: { sum: 5, count: 1 } });
      const count = yield* ask(`${url}/count`);
      assert.deepStrictEqual(count, { status: 200, body: { count: 1 } });
      assert.strictEqual((yield* ask(`${url}/failing`, { method: "POST" })).status, 500);
    }).pipe(Effect.scoped),
  );

  it.live("serves the ASGI app of a factory, with streams and WebSockets", () =>
    Effect.gen(function* () {
      const { url } = yield* apiWorker("sdk-api", "asgi");
      yield* ready(url);
      const item = yield* ask(`${url}/items/7`);
      assert.deepStrictEqual(item, { status: 200, body: { item: 7 } });
      const body = new Uint8Array(3_000_000);
      const upload = yield* ask(`${url}/upload`, { method: "POST", body });
      assert.deepStrictEqual(upload, { status: 200, body: { size: 3_000_000 } });
      const answer = yield* Effect.callback<unknown>((resume) => {
        const socket = new WebSocket(`${url.replace("http", "ws")}/socket`);
        socket.addEventListener("open", () => socket.send("hey"));
        socket.addEventListener("message", ({ data }) => {
          socket.close();
          resume(Effect.succeed(data));
        });
        socket.addEventListener("error", () => resume(Effect.succeed("failed")));
      });
      assert.strictEqual(answer, "HEY");
    }).pipe(Effect.scoped),
  );
});

describe("a load-balanced app that can't start", () => {
  it.live.each(["flash", "sdk"] as const)("responds with the reason (%s)", (client) =>
    Effect.gen(function* () {
      const { url, worker } = yield* apiWorker(client, "unknown", { FLASH_ENDPOINT_TYPE: "lb" });
      const failed = yield* poll(ask(`${url}/ping`), ({ status }) => status !== 204);
      assert.strictEqual(failed.status, 500);
      const { status, body } = yield* send(`${url}/sum`, "POST", { a: 1 });
      assert.strictEqual(status, 500);
      assert.include(JSON.stringify(body), "The app has no resource");
      yield* worker.signal("SIGTERM");
      assert.deepStrictEqual(yield* worker.ended, { code: 0, signal: null });
    }).pipe(Effect.scoped),
  );
});
