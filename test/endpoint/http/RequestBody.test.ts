import { NodeHttpClient, NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { ByteSize, Clock, Effect, Fiber, Latch, Layer, Option, Stream } from "effect";
import { Etag, HttpPlatform, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http";

import { EncodedResponse } from "../../../src/domain/EncodedResponse.ts";
import { success } from "../../../src/domain/FunctionResponse.ts";
import { Drain } from "../../../src/endpoint/Drain.ts";
import { LiveApp } from "../../../src/endpoint/LiveApp.ts";
import { LoadBalancer } from "../../../src/endpoint/LoadBalancer.ts";
import { localEndpointRoutes } from "../../../src/endpoint/LocalEndpoint.ts";
import { routeGuard } from "../../../src/endpoint/http/HttpGuard.ts";
import {
  makeRequestBudget,
  RequestBudget,
  takeOverBody,
  withLimitedBody,
} from "../../../src/endpoint/http/RequestBody.ts";
import { LocalQueue } from "../../../src/endpoint/jobs/LocalQueue.ts";
import { JobStore } from "../../../src/endpoint/store/JobStore.ts";
import { interruptedAtEveryStep } from "../../support/effects/Interruption.ts";
import { advanceUntilDone } from "../../support/effects/Waiting.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { serverOptions } from "../../support/http/TestEndpoint.ts";

const ROOM = 100 * 1024;

const handle = () => Effect.succeed(EncodedResponse.of(success({})));

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
        LiveApp.layer(Effect.succeed(() => Effect.die("no app is expected"))),
        Layer.provideMerge(HttpPlatform.layer, NodeServices.layer),
        Etag.layer,
      ]),
    ),
  );
  return { respond, queue: yield* Effect.provide(LocalQueue, context) };
});

describe("the body of a request", () => {
  it.live.each(["/run", "/execute"])(
    "releases its reserved bytes whenever the client of %s disconnects",
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

const MIB = 1024 * 1024;
const LIMIT = ByteSize.mebibytes(1);

/** A request whose body is a stream; without headers its length is unknown. */
const requestOf = (
  body: Stream.Stream<Uint8Array>,
  headers: Readonly<Record<string, string>>,
): HttpServerRequest.HttpServerRequest =>
  Object.create(
    HttpServerRequest.fromWeb(new Request("http://localhost/run", { method: "POST" })),
    { stream: { value: body }, headers: { value: headers } },
  );

const text = Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => request.text);

/** The status of the response to a request with this body, whose handler reads it in the given way. */
const handling = (
  body: Stream.Stream<Uint8Array>,
  budget = makeRequestBudget(64 * MIB),
  read: Effect.Effect<string, unknown, HttpServerRequest.HttpServerRequest> = text,
  headers: Readonly<Record<string, string>> = {},
) =>
  withLimitedBody(
    Effect.map(read, ({ length }) => HttpServerResponse.jsonUnsafe(length)),
    LIMIT,
  ).pipe(
    Effect.map(({ status }) => status),
    Effect.provideService(HttpServerRequest.HttpServerRequest, requestOf(body, headers)),
    Effect.provideService(RequestBudget, budget),
  );

const part = (size: number) => new Uint8Array(size).fill(0x31);

describe("the parts of a body", () => {
  it.effect("are not read before the handler reads the body", () =>
    Effect.gen(function* () {
      let pulled = 0;
      const body = Stream.fromIterable([1, 2, 3]).pipe(
        Stream.map(() => {
          pulled += 1;
          return part(1);
        }),
      );
      assert.strictEqual(yield* handling(body, undefined, Effect.succeed("")), 200);
      assert.strictEqual(pulled, 0);
      assert.strictEqual(yield* handling(body), 200);
      assert.strictEqual(pulled, 3);
    }),
  );

  it.effect.each([
    ["pauses for long", Stream.concat(Stream.make(part(1)), Stream.never), 20],
    ["comes in small parts for long", Stream.map(Stream.tick("10 seconds"), () => part(1)), 120],
  ] as const)("are rejected with 408 when the body %s", ([, body, seconds]) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* advanceUntilDone(handling(body)), 408);
      assert.closeTo((yield* Clock.currentTimeMillis) / 1000, seconds, 1);
    }),
  );

  it.effect("are rejected with 413 above the limit of the route, and not read to the end", () =>
    Effect.gen(function* () {
      let bytes = 0;
      const endless = Stream.forever(Stream.make(part(MIB / 4))).pipe(
        Stream.tap(({ length }) => Effect.sync(() => (bytes += length))),
      );
      assert.strictEqual(yield* handling(endless), 413);
      // Some of the rest is read, since most clients read the response only after they have sent everything.
      assert.isAtMost(bytes, 66 * MIB);
    }),
  );

  it.effect.each([
    { "content-length": String(2 * MIB), expect: "100-continue" },
    { "content-length": String(100 * MIB) },
  ])("are refused with 413 and not read at all when they are announced by %j", (headers) =>
    Effect.gen(function* () {
      const body = Stream.fromEffect(Effect.die("it was read"));
      assert.strictEqual(yield* handling(body, undefined, text, headers), 413);
    }),
  );

  it.effect("release their memory once they are rejected, although the rest is still read", () =>
    Effect.gen(function* () {
      const budget = makeRequestBudget(MIB / 2);
      const capacity: Array<boolean> = [];
      const body = Stream.fromIterable([1, 2, 3, 4]).pipe(
        Stream.mapEffect(
          Effect.fnUntraced(function* () {
            const isFree = yield* budget.reserve(MIB / 2);
            if (isFree) yield* budget.release(MIB / 2);
            capacity.push(isFree);
            return part(MIB / 4);
          }),
        ),
      );
      assert.strictEqual(yield* handling(body, budget), 429);
      assert.deepStrictEqual(capacity, [false, false, true, true]);
    }),
  );

  it.effect("keep their memory after the handler has taken them over, until it releases them", () =>
    Effect.gen(function* () {
      const budget = makeRequestBudget(MIB / 2);
      let release: Effect.Effect<void> = Effect.void;
      const keeping = Effect.gen(function* () {
        const read = yield* text;
        release = Option.getOrThrow(yield* takeOverBody).release;
        return read;
      });
      assert.strictEqual(yield* handling(Stream.make(part(MIB / 4)), budget, keeping), 200);
      assert.isFalse(yield* budget.reserve(MIB / 2));
      yield* release;
      assert.isTrue(yield* budget.reserve(MIB / 2));
    }),
  );
});
