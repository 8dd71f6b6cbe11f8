import { assert, describe, it } from "@effect/vitest";
import { Deferred, Duration, Effect, Exit, Fiber } from "effect";
import { TestClock } from "effect/testing";

import type { DiskFault } from "../../../src/platform/files/DiskFault.ts";
import { patience } from "../../../src/platform/volume/Patience.ts";
import type { PendingRequest } from "../../../src/platform/volume/VolumeConnection.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";

const DEADLINE = Duration.seconds(20);

const pendingRequest = (): PendingRequest => ({
  id: 1,
  reply: Deferred.makeUnsafe<unknown, DiskFault>(),
  hasProgressed: false,
});

const setUp = Effect.gen(function* () {
  const waitFor = yield* patience("/volume");
  return {
    /** Waits for the reply in the background. */
    start: (pending: PendingRequest) =>
      Effect.forkChild(
        waitFor(pending, "files.stat of /volume/x", DEADLINE, Effect.fail("expired")),
      ),
    reply: ({ reply }: PendingRequest) => Deferred.done(reply, Exit.succeed("value")),
  };
});

describe("patience with the volume", () => {
  it.effect("returns the reply, without a message if it comes soon", () => {
    const { warnings, notices, layer } = keptLogs();
    return Effect.gen(function* () {
      const { start, reply } = yield* setUp;
      const pending = pendingRequest();
      const waiting = yield* start(pending);
      yield* TestClock.adjust("4 seconds");
      yield* reply(pending);
      assert.strictEqual(yield* Fiber.join(waiting), "value");
      assert.deepStrictEqual([...warnings(), ...notices()], []);
    }).pipe(Effect.provide(layer));
  });

  it.effect("says once what it waits for, and when all replies have come", () => {
    const { warnings, notices, layer } = keptLogs();
    return Effect.gen(function* () {
      const { start, reply } = yield* setUp;
      const [first, second] = [pendingRequest(), pendingRequest()];
      const waitingForFirst = yield* start(first);
      const waitingForSecond = yield* start(second);
      yield* TestClock.adjust("10 seconds");
      assert.lengthOf(warnings(), 1);
      assert.include(warnings()[0], "/volume does not respond (files.stat of /volume/x)");
      yield* reply(first);
      yield* Fiber.join(waitingForFirst);
      assert.deepStrictEqual(notices(), []);
      yield* reply(second);
      yield* Fiber.join(waitingForSecond);
      assert.lengthOf(warnings(), 1);
      assert.deepStrictEqual(notices(), ["The network volume /volume responds again"]);
    }).pipe(Effect.provide(layer));
  });

  it.effect("ends with the deadline, which progress extends", () => {
    const { layer } = keptLogs();
    return Effect.gen(function* () {
      const { start } = yield* setUp;
      const pending = pendingRequest();
      const waiting = yield* start(pending);
      yield* TestClock.adjust("19 seconds");
      pending.hasProgressed = true;
      yield* TestClock.adjust("19 seconds");
      assert.isUndefined(waiting.pollUnsafe());
      yield* TestClock.adjust("3 seconds");
      assert.strictEqual(yield* Effect.flip(Fiber.join(waiting)), "expired");
    }).pipe(Effect.provide(layer));
  });
});
