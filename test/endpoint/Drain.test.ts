import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Fiber } from "effect";
import { HttpServerResponse } from "effect/http";
import { TestClock } from "effect/testing";

import { Drain, MAX_WAITING } from "../../src/endpoint/Drain.ts";
import { isDone } from "../support/effects/Waiting.ts";

/** The fiber of an effect that has had time to do all that it can without waiting. */
const begun = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.tap(Effect.forkChild(effect), () => TestClock.adjust(0));

describe("Drain", () => {
  it.effect("runs what starts a job until it begins, and then answers 503 in its place", () =>
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

  it.effect("waits until every request that waits for a job has its answer", () =>
    Effect.gen(function* () {
      const drain = yield* Drain;
      yield* drain.answered;
      const gates = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>()]);
      for (const gate of gates) {
        yield* begun(drain.attend(Deferred.await(gate)));
      }
      const answered = yield* begun(drain.answered);
      assert.isFalse(isDone(answered));
      yield* Deferred.succeed(gates[0], undefined);
      yield* TestClock.adjust("1 hour");
      assert.isFalse(isDone(answered));
      yield* Deferred.succeed(gates[1], undefined);
      yield* Fiber.join(answered);
    }).pipe(Effect.provide(Drain.layer)),
  );

  it.effect("lets requests wait for jobs up to a number, and refuses more of them with 429", () =>
    Effect.gen(function* () {
      const drain = yield* Drain;
      const [first, ...others] = yield* Effect.forEach(Array.from({ length: MAX_WAITING }), () =>
        begun(drain.attend(Effect.never)),
      );
      const next = Effect.flatMap(begun(drain.attend(Effect.succeed("answered"))), Fiber.join);
      assert.deepInclude(yield* next, { status: 429 });
      if (first !== undefined) yield* Fiber.interrupt(first);
      assert.strictEqual(yield* next, "answered");
      yield* Fiber.interruptAll(others);
      yield* drain.answered;
    }).pipe(Effect.provide(Drain.layer)),
  );

  it.effect("waits until each polling client has seen the end of its job", () =>
    Effect.gen(function* () {
      const { follow, collected } = yield* Drain;
      yield* collected;
      yield* follow("one", "IN_QUEUE");
      yield* follow("other", "IN_PROGRESS");
      yield* follow("never-polled", "COMPLETED");
      const waiting = yield* begun(collected);
      yield* follow("one", "COMPLETED");
      yield* TestClock.adjust(0);
      assert.isFalse(isDone(waiting));
      yield* follow("other", "FAILED");
      yield* Fiber.join(waiting);
    }).pipe(Effect.provide(Drain.layer)),
  );

  it.effect("waits for a client as long as it polls at least every 10 seconds, and no longer", () =>
    Effect.gen(function* () {
      const { follow, collected } = yield* Drain;
      yield* follow("polled", "IN_QUEUE");
      const waiting = yield* begun(collected);
      for (let poll = 0; poll < 3; poll += 1) {
        yield* TestClock.adjust("9 seconds");
        assert.isFalse(isDone(waiting));
        yield* follow("polled", "IN_PROGRESS");
      }
      yield* TestClock.adjust("9 seconds");
      assert.isFalse(isDone(waiting));
      yield* TestClock.adjust("1 second");
      yield* Fiber.join(waiting);
    }).pipe(Effect.provide(Drain.layer)),
  );
});
