import { assert, describe, it } from "@effect/vitest";
import { Deferred, Duration, Effect, Fiber, Ref, SubscriptionRef } from "effect";
import { HttpServerResponse } from "effect/http";
import { TestClock } from "effect/testing";

import { MAX_ENDS, superviseApp } from "../../src/endpoint/AppSupervisor.ts";
import { LaunchFailed, launchOutcome, type RunningApp } from "../../src/endpoint/Availability.ts";

const proxy = { forward: () => Effect.succeed(HttpServerResponse.empty()) };

const importFailed = new LaunchFailed({
  phase: "import",
  reason: "Importing web failed: ValueError: no",
  advice: "Correct the code.",
  traceback: "Traceback",
  isRetryable: false,
});

/** An app whose processes the test ends one after the other. */
const makeApp = Effect.gen(function* () {
  const ends: Array<Deferred.Deferred<string>> = [];
  const open = yield* Ref.make(0);
  const launch = Effect.gen(function* () {
    const end = yield* Deferred.make<string>();
    ends.push(end);
    yield* Effect.acquireRelease(
      Ref.update(open, (count) => count + 1),
      () => Ref.update(open, (count) => count - 1),
    );
    return { proxy, ended: Deferred.await(end) } satisfies RunningApp;
  });
  const end = (reason: string) =>
    Effect.suspend(() => {
      const last = ends.at(-1);
      return last === undefined ? Effect.die("not launched") : Deferred.succeed(last, reason);
    });
  return { launch, end, open, launches: () => ends.length };
});

describe("superviseApp", () => {
  it.effect("starts an app again when its process ends, and releases the ended one first", () =>
    Effect.gen(function* () {
      const app = yield* makeApp;
      const state = yield* superviseApp(app.launch);
      assert.strictEqual((yield* launchOutcome(state))._tag, "Ready");
      yield* app.end("killed");
      yield* TestClock.adjust("500 millis");
      assert.strictEqual((yield* SubscriptionRef.get(state))._tag, "Starting");
      assert.strictEqual(yield* Ref.get(app.open), 0);
      yield* TestClock.adjust("1 second");
      assert.strictEqual((yield* SubscriptionRef.get(state))._tag, "Ready");
      assert.strictEqual(app.launches(), 2);
      assert.strictEqual(yield* Ref.get(app.open), 1);
    }).pipe(Effect.scoped),
  );

  it.effect("gives up when the process ends several times in a row", () =>
    Effect.gen(function* () {
      const app = yield* makeApp;
      const state = yield* superviseApp(app.launch);
      for (let count = 1; count <= MAX_ENDS; count += 1) {
        yield* TestClock.adjust("10 seconds");
        yield* app.end(`end ${count}.`);
      }
      const last = yield* launchOutcome(state);
      assert.deepNestedInclude(last, { "failure.phase": "serve" });
      assert.deepNestedInclude(last, {
        "failure.reason": "The app's process ended 3 times in a row. end 3.",
      });
      yield* TestClock.adjust("1 hour");
      assert.strictEqual(app.launches(), MAX_ENDS);
    }).pipe(Effect.scoped),
  );

  it.effect("does not count ends of an app that ran for long", () =>
    Effect.gen(function* () {
      const app = yield* makeApp;
      const state = yield* superviseApp(app.launch);
      for (let count = 0; count < 2 * MAX_ENDS; count += 1) {
        yield* TestClock.adjust("2 minutes");
        yield* app.end("killed");
        yield* TestClock.adjust("2 seconds");
      }
      assert.strictEqual((yield* launchOutcome(state))._tag, "Ready");
    }).pipe(Effect.scoped),
  );

  it.effect("fails at once if the code can't be imported", () =>
    Effect.gen(function* () {
      const launches = yield* Ref.make(0);
      const state = yield* superviseApp(
        Effect.andThen(
          Ref.update(launches, (count) => count + 1),
          Effect.fail(importFailed),
        ),
      );
      assert.deepInclude(yield* launchOutcome(state), {
        _tag: "Failed",
        failure: importFailed,
      });
      yield* TestClock.adjust("1 hour");
      assert.strictEqual(yield* Ref.get(launches), 1);
    }).pipe(Effect.scoped),
  );

  it.effect("fails with an internal error if the launch has a bug", () =>
    Effect.gen(function* () {
      const state = yield* superviseApp(Effect.die(new Error("a bug")));
      const outcome = yield* launchOutcome(state);
      assert.deepNestedInclude(outcome, {
        "failure.phase": "serve",
        "failure.reason": "Internal error: Error: a bug",
      });
    }).pipe(Effect.scoped),
  );

  it.effect("stays failed until a later attempt succeeds, if it may try again", () =>
    Effect.gen(function* () {
      const app = yield* makeApp;
      const failures = yield* Ref.make(2);
      const launch = Effect.flatMap(
        Ref.getAndUpdate(failures, (count) => count - 1),
        (count) => (count > 0 ? Effect.fail(importFailed) : app.launch),
      );
      const state = yield* superviseApp(launch, { retryAfter: Duration.seconds(30) });
      for (const expected of ["Failed", "Failed", "Ready"]) {
        assert.strictEqual((yield* launchOutcome(state))._tag, expected);
        yield* TestClock.adjust("29 seconds");
        assert.strictEqual((yield* SubscriptionRef.get(state))._tag, expected);
        yield* TestClock.adjust("1 second");
      }
    }).pipe(Effect.scoped),
  );

  it.effect("launches again after a process that ended before the app was ready", () =>
    Effect.gen(function* () {
      const app = yield* makeApp;
      let isFirst = true;
      const launch = Effect.suspend(() => {
        const attempt = isFirst
          ? Effect.fail(new LaunchFailed({ ...importFailed, isRetryable: true }))
          : app.launch;
        isFirst = false;
        return attempt;
      });
      const state = yield* superviseApp(launch);
      const waiting = yield* Effect.forkChild(launchOutcome(state));
      yield* TestClock.adjust("2 seconds");
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "Ready");
    }).pipe(Effect.scoped),
  );
});
