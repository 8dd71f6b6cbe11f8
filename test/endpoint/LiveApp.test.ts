import { createHash } from "node:crypto";

import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Fiber, Latch, Layer, Redacted } from "effect";

import { balancedLiveRoutes } from "../../src/endpoint/AppRoutes.ts";
import { LaunchFailed } from "../../src/endpoint/Availability.ts";
import { Drain } from "../../src/endpoint/Drain.ts";
import { type LaunchLive, LiveApp } from "../../src/endpoint/LiveApp.ts";
import { makeAppProxy } from "../../src/endpoint/http/AppProxy.ts";
import { endpointServer } from "../../src/endpoint/http/EndpointServer.ts";
import { eventually } from "../support/effects/Waiting.ts";
import { ask } from "../support/http/HttpRequest.ts";
import { endpoint, serverOptions } from "../support/http/TestEndpoint.ts";
import { unixServer } from "../support/http/UnixServer.ts";

const hashOf = (source: string) => createHash("sha256").update(source).digest("hex");

/** Apps that respond with their source and the path. The source "broken" can't be launched. */
const makeApps = () => {
  const launched: Array<string> = [];
  const running = new Set<string>();
  const launch: LaunchLive = Effect.fnUntraced(function* ({ source, resource, ...dependencies }) {
    launched.push(source);
    if (source.startsWith("broken")) {
      return yield* new LaunchFailed({
        phase: "import",
        reason: `Importing ${resource} failed: SyntaxError`,
        advice: "Correct the code.",
        traceback: "Traceback",
        isRetryable: false,
      });
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => running.add(source)),
      () => Effect.sync(() => running.delete(source)),
    );
    const { socketPath } = yield* unixServer(({ url }, response) => {
      response.end(JSON.stringify({ source, url, ...dependencies }));
    });
    const proxy = makeAppProxy({ socketPath, responseHeaders: [] });
    return { proxy, ended: Effect.never };
  });
  return { launch, launched, running };
};

const sync = (port: number, source: string, more = {}) =>
  ask(port, "/_runpod/sync", { body: { source, resource: "web", ...more } });

describe("the app of a development session", () => {
  it.live("gets all paths but those of the worker after its source was sent", () =>
    Effect.gen(function* () {
      const { launch } = makeApps();
      const { port, ready } = yield* endpoint({}, undefined, launch);
      yield* ready.open;
      assert.strictEqual((yield* ask(port, "/items")).status, 404);
      const dependencies = { dependencies: ["numpy"], system_dependencies: null };
      const synced = yield* sync(port, "one", dependencies);
      assert.deepInclude(synced, { status: 200 });
      assert.deepStrictEqual(synced.json, { status: "synced", hash: hashOf("one") });
      const response = yield* ask(port, "/items?x=1");
      assert.deepStrictEqual(response.json, { source: "one", url: "/items?x=1", ...dependencies });
      assert.deepInclude(yield* ask(port, "/ping"), { status: 200, text: "" });
      const executed = yield* ask(port, "/execute", { body: { function_name: "f" } });
      assert.deepInclude(executed.json, { success: true });
    }).pipe(Effect.scoped),
  );

  it.live("is replaced by the app of another source, and kept for the same source", () =>
    Effect.gen(function* () {
      const { launch, launched, running } = makeApps();
      const { port } = yield* endpoint({}, undefined, launch);
      for (const source of ["one", "one", "two"]) yield* sync(port, source);
      assert.deepStrictEqual(launched, ["one", "two"]);
      assert.deepInclude((yield* ask(port, "/")).json, { source: "two" });
      yield* eventually(() => !running.has("one"));
      assert.isTrue(running.has("two"));
    }).pipe(Effect.scoped),
  );

  it.live("remains when another source can't be launched", () =>
    Effect.gen(function* () {
      const { launch, running } = makeApps();
      const { port } = yield* endpoint({}, undefined, launch);
      yield* sync(port, "one");
      const failed = yield* sync(port, "broken");
      assert.strictEqual(failed.status, 500);
      assert.deepInclude(failed.json, {
        error: "Importing web failed: SyntaxError",
        phase: "import",
        traceback: "Traceback",
      });
      assert.deepInclude((yield* ask(port, "/")).json, { source: "one" });
      assert.deepStrictEqual([...running], ["one"]);
    }).pipe(Effect.scoped),
  );

  it.live("remains when the client disconnects while another source is launched", () =>
    Effect.gen(function* () {
      const { launch, running } = makeApps();
      const started = yield* Deferred.make<void>();
      const { port } = yield* endpoint({}, undefined, (source) =>
        source.source === "slow"
          ? Effect.andThen(
              launch(source),
              Effect.andThen(Deferred.succeed(started, undefined), Effect.never),
            )
          : launch(source),
      );
      yield* sync(port, "one");
      const slow = yield* Effect.forkChild(sync(port, "slow"));
      yield* Deferred.await(started);
      yield* Fiber.interrupt(slow);
      yield* eventually(() => !running.has("slow"));
      yield* sync(port, "one");
      assert.deepInclude((yield* ask(port, "/")).json, { source: "one" });
    }).pipe(Effect.scoped),
  );

  it.live("needs the key, for its source and for requests", () =>
    Effect.gen(function* () {
      const { launch, launched } = makeApps();
      const { port } = yield* endpoint({ keys: [Redacted.make("secret")] }, undefined, launch);
      assert.strictEqual((yield* sync(port, "one")).status, 401);
      assert.deepStrictEqual(launched, []);
      const headers = { authorization: "Bearer secret" };
      const body = { source: "one", resource: "web" };
      assert.strictEqual((yield* ask(port, "/_runpod/sync", { body, headers })).status, 200);
      assert.strictEqual((yield* ask(port, "/items")).status, 401);
      assert.strictEqual((yield* ask(port, "/items", { headers })).status, 200);
      const invalid = yield* ask(port, "/_runpod/sync", { body: { source: 1 }, headers });
      assert.deepInclude(invalid, { status: 400 });
    }).pipe(Effect.scoped),
  );

  it.live("is served behind a load balancer, which has its own path for the health check", () =>
    Effect.gen(function* () {
      const { launch } = makeApps();
      const ready = Latch.makeUnsafe();
      const services = yield* Layer.build(
        Layer.merge(Drain.layer, LiveApp.layer(Effect.succeed(launch))),
      );
      const { port, serve } = yield* endpointServer({ ...serverOptions, isBehindGateway: true });
      const fallback = yield* Effect.provide(balancedLiveRoutes("/health", ready), services);
      yield* serve(Layer.empty, fallback);
      assert.strictEqual((yield* ask(port, "/health")).status, 204);
      yield* ready.open;
      assert.strictEqual((yield* ask(port, "/health")).status, 200);
      const unknown = yield* ask(port, "/items");
      assert.strictEqual(unknown.status, 404);
      assert.include(unknown.text, "/_runpod/sync");
      const { sync } = yield* Effect.provide(LiveApp, services);
      yield* sync({ source: "one", resource: "web" });
      assert.deepInclude((yield* ask(port, "/items")).json, { source: "one" });
      assert.deepInclude(yield* ask(port, "/health"), { status: 200, text: "" });
    }).pipe(Effect.scoped),
  );
});
