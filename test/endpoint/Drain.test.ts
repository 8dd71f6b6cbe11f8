import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Fiber } from "effect";
import { HttpServerResponse } from "effect/http";
import { TestClock } from "effect/testing";

import { Drain, MAX_WAITING } from "../../src/endpoint/Drain.ts";
import { isDone } from "../support/effects/Waiting.ts";

/** The fiber of an effect that has run as far as it can without waiting. */
const forked = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.tap(Effect.forkChild(effect), () => TestClock.adjust(0));

describe("Drain", () => {
  it.effect("starts jobs until it begins, and then responds with 503", () =>
    Effect.gen(function* () {
      const drain = yield* Drain;
      const started: Array<string> = [];
      const start = (id: string) =>
        drain.admit(
          Effect.sync(() => {
            started.push(id);
            return id;
          }),
        );
      assert.strictEqual(yield* start("first"), "first");
      yield* drain.begin;
      const refused = yield* start("second");
      assert.deepStrictEqual(started, ["first"]);
      assert.isTrue(HttpServerResponse.isHttpServerResponse(refused));
      assert.deepInclude(refused, { status: 503 });
      assert.deepNestedInclude(refused, { "headers.retry-after": "5" });
    }).pipe(Effect.provide(Drain.layer)),
  );

  it.effect("waits until every request that waits for a job has its response", () =>
    Effect.gen(function* () {
      const drain = yield* Drain;
      yield* drain.requestsFinished;
      const gates = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>()]);
      for (const gate of gates) {
        yield* forked(drain.trackRequest(Deferred.await(gate)));
      }
      const finished = yield* forked(drain.requestsFinished);
      assert.isFalse(isDone(finished));
      yield* Deferred.succeed(gates[0], undefined);
      yield* TestClock.adjust("1 hour");
      assert.isFalse(isDone(finished));
      yield* Deferred.succeed(gates[1], undefined);
      yield* Fiber.join(finished);
    }).pipe(Effect.provide(Drain.layer)),
  );

  it.effect("responds with 429 when too many requests wait for jobs", () =>
    Effect.gen(function* () {
      const drain = yield* Drain;
      const [first, ...others] = yield* Effect.forEach(Array.from({ length: MAX_WAITING }), () =>
        forked(drain.trackRequest(Effect.never)),
      );
      const next = Effect.flatMap(
        forked(drain.trackRequest(Effect.succeed("response"))),
        Fiber.join,
      );
      assert.deepInclude(yield* next, { status: 429 });
      if (first !== undefined) yield* Fiber.interrupt(first);
      assert.strictEqual(yield* next, "response");
      yield* Fiber.interruptAll(others);
      yield* drain.requestsFinished;
    }).pipe(Effect.provide(Drain.layer)),
  );

  it.effect("waits until each polling client has seen the end of its job", () =>
    Effect.gen(function* () {
      const { trackPolling, pollingFinished } = yield* Drain;
      yield* pollingFinished;
      yield* trackPolling("one", "IN_QUEUE");
      yield* trackPolling("other", "IN_PROGRESS");
      yield* trackPolling("never-polled", "COMPLETED");
      const waiting = yield* forked(pollingFinished);
      yield* trackPolling("one", "COMPLETED");
      yield* TestClock.adjust(0);
      assert.isFalse(isDone(waiting));
      yield* trackPolling("other", "FAILED");
      yield* Fiber.join(waiting);
    }).pipe(Effect.provide(Drain.layer)),
  );

  it.effect("waits for a client only while it polls at least every 10 seconds", () =>
    Effect.gen(function* () {
      const { trackPolling, pollingFinished } = yield* Drain;
      yield* trackPolling("polled", "IN_QUEUE");
      const waiting = yield* forked(pollingFinished);
      for (let poll = 0; poll < 3; poll += 1) {
        yield* TestClock.adjust("9 seconds");
        assert.isFalse(isDone(waiting));
        yield* trackPolling("polled", "IN_PROGRESS");
      }
      yield* TestClock.adjust("9 seconds");
      assert.isFalse(isDone(waiting));
      yield* TestClock.adjust("1 second");
      yield* Fiber.join(waiting);
    }).pipe(Effect.provide(Drain.layer)),
  );
});
