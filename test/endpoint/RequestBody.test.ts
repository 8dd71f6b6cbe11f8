import { NodeHttpClient, NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, Fiber, Latch, Layer } from "effect";
import { Etag, HttpPlatform, HttpRouter, HttpServerRequest } from "effect/http";

import { Drain } from "../../src/endpoint/Drain.ts";
import { routeGuard } from "../../src/endpoint/HttpGuard.ts";
import { JobStore } from "../../src/endpoint/JobStore.ts";
import { LoadBalancer } from "../../src/endpoint/LoadBalancer.ts";
import { localEndpointRoutes } from "../../src/endpoint/LocalEndpoint.ts";
import { LocalQueue } from "../../src/endpoint/LocalQueue.ts";
import { makeRequestBudget, RequestBudget } from "../../src/endpoint/RequestBody.ts";
import { FunctionAnswer } from "../../src/protocol/FunctionAnswer.ts";
import { success } from "../../src/protocol/FunctionResponse.ts";
import { serverOptions } from "../support/Endpoint.ts";
import { interruptedAtEveryStep } from "../support/Interruption.ts";
import { keptLogs } from "../support/Logs.ts";

const ROOM = 100 * 1024;

const handle = () => Effect.succeed(FunctionAnswer.of(success({})));

/** The routes of a local endpoint as a function, and its queue. */
const application = Effect.gen(function* () {
  const context = yield* Layer.build(
    Layer.mergeAll(LocalQueue.layer, Drain.layer).pipe(
      Layer.provide([JobStore.layerNone, NodeHttpClient.layerUndici]),
    ),
  );
  const respond = yield* HttpRouter.toHttpEffect(
    localEndpointRoutes.pipe(
      Layer.provide(routeGuard(serverOptions)),
      Layer.provide([
        Layer.succeedContext(context),
        Layer.succeed(LoadBalancer, { handle, ready: Latch.makeUnsafe() }),
        Layer.provideMerge(HttpPlatform.layer, NodeServices.layer),
        Etag.layer,
      ]),
    ),
  );
  return { respond, queue: yield* Effect.provide(LocalQueue, context) };
});

describe("the body of a request", () => {
  it.live.each(["/run", "/execute"])(
    "gives back the bytes it has reserved, whenever the client of %s hangs up",
    (path) => {
      const budget = makeRequestBudget(ROOM);
      return Effect.gen(function* () {
        const { respond, queue } = yield* application;
        const ask = Effect.suspend(() =>
          Effect.provideService(
            Effect.scoped(respond),
            HttpServerRequest.HttpServerRequest,
            HttpServerRequest.fromWeb(
              new Request(`http://127.0.0.1${path}`, {
                method: "POST",
                headers: { host: "127.0.0.1", "content-type": "application/json" },
                body: JSON.stringify({ input: 1 }),
              }),
            ),
          ),
        );
        const response = yield* Effect.flatMap(Effect.forkChild(ask), Fiber.join);
        assert.strictEqual(response.status, 200);
        yield* queue.purge;
        yield* interruptedAtEveryStep((interrupted, about) =>
          Effect.gen(function* () {
            yield* interrupted(ask);
            yield* queue.purge;
            assert.isTrue(yield* budget.reserve(ROOM), about);
            yield* budget.release(ROOM);
          }),
        );
      }).pipe(
        Effect.scoped,
        Effect.provideService(RequestBudget, budget),
        Effect.provide(keptLogs().layer),
      );
    },
  );
});
