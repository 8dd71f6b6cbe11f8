import { once } from "node:events";
import { unlinkSync } from "node:fs";
import { createServer } from "node:http";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, SubscriptionRef } from "effect";

import { launchApp, type Listening } from "../../src/endpoint/AppLauncher.ts";
import { ask } from "../support/http/HttpRequest.ts";
import { appEndpoint } from "../support/http/TestApp.ts";

/** Serves HTTP in this process. */
const serve = ({ socket, ready }: Listening) =>
  Effect.gen(function* () {
    const server = createServer((_, response) => response.end(socket)).listen(socket);
    yield* Effect.promise(() => once(server, "listening"));
    yield* Effect.addFinalizer(() => Effect.sync(() => server.close()));
    yield* ready;
    return yield* Effect.never;
  }).pipe(Effect.scoped);

describe("launchApp", () => {
  it.live("reports the end of an app whose socket was removed, so that it is started again", () =>
    Effect.gen(function* () {
      const app = yield* launchApp(serve, []);
      const { port, state } = yield* appEndpoint();
      yield* SubscriptionRef.set(state, { _tag: "Ready", app });
      const { status, text: socket } = yield* ask(port, "/");
      assert.strictEqual(status, 200);
      unlinkSync(socket);
      const lost = yield* ask(port, "/");
      assert.strictEqual(lost.status, 502);
      assert.include(lost.text, "Its socket was removed. It is started again.");
      assert.strictEqual(yield* app.ended, "Its socket was removed.");
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );
});
