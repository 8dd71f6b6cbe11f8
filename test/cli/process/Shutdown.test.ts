import { assert, describe, it } from "@effect/vitest";
import { Effect, Fiber } from "effect";

import { Shutdown, signalResponder } from "../../../src/cli/process/Shutdown.ts";

/** The responses to signals at these times (in milliseconds), with or without a command that handles shutdown. */
const responses = (
  isAwaited: boolean,
  signals: ReadonlyArray<readonly [signal: NodeJS.Signals, at: number]>,
) => {
  const shutdown = Shutdown.make();
  const waiting = isAwaited ? Effect.runFork(shutdown.requested) : undefined;
  let time = 0;
  const respond = signalResponder(shutdown, () => time);
  const given = signals.map(([signal, at]) => {
    time = at;
    return respond(signal);
  });
  waiting?.interruptUnsafe();
  return given;
};

describe("signalResponder", () => {
  it.each(["SIGINT", "SIGHUP"] as const)(
    "ignores %s if it is repeated within a second",
    (signal) => {
      const copies = [0, 0, 3, 999].map((after) => [signal, 5000 + after] as const);
      assert.deepStrictEqual(responses(true, copies), ["finish", "ignore", "ignore", "ignore"]);
      assert.deepStrictEqual(responses(false, copies), ["interrupt", "ignore", "ignore", "ignore"]);
    },
  );

  it("exits on a second SIGTERM, however soon it arrives", () => {
    const both = [
      ["SIGTERM", 5000],
      ["SIGTERM", 5001],
    ] as const;
    assert.deepStrictEqual(responses(true, both), ["finish", "exit"]);
    assert.deepStrictEqual(responses(false, both), ["interrupt", "exit"]);
  });

  it("exits on a second signal that arrives later or is a different one", () => {
    for (const isAwaited of [true, false]) {
      const first = isAwaited ? "finish" : "interrupt";
      assert.deepStrictEqual(
        responses(isAwaited, [
          ["SIGINT", 0],
          ["SIGINT", 2],
          ["SIGINT", 1000],
        ]),
        [first, "ignore", "exit"],
      );
      assert.deepStrictEqual(
        responses(isAwaited, [
          ["SIGINT", 0],
          ["SIGTERM", 2],
        ]),
        [first, "exit"],
      );
      assert.deepStrictEqual(
        responses(isAwaited, [
          ["SIGTERM", 0],
          ["SIGINT", 2],
        ]),
        [first, "exit"],
      );
    }
  });
});

describe("Shutdown", () => {
  it.effect("accepts one request, and only while a command waits for it", () =>
    Effect.gen(function* () {
      const shutdown = Shutdown.make();
      assert.isFalse(shutdown.request());
      const waiting = yield* Effect.forkChild(shutdown.requested, { startImmediately: true });
      assert.isUndefined(waiting.pollUnsafe());
      assert.isTrue(shutdown.request());
      assert.isFalse(shutdown.request());
      yield* Fiber.join(waiting);
    }),
  );
});
