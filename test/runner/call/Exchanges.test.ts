import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect } from "effect";

import { FrameType } from "../../../src/runner/RunnerProtocol.ts";
import { Exchanges } from "../../../src/runner/call/Exchanges.ts";

const setUp = () => {
  const exchanges = new Exchanges();
  const events: Array<string> = [];
  const begin = (limits = { result: 100 }, overlaps = false) =>
    exchanges.begin({
      limits,
      overlaps,
      output: (bytes) => events.push(`output ${String(bytes)}`),
      chunk: () => events.push("chunk"),
    });
  const receive = (type: number, call: number, meta: object = {}) =>
    exchanges.receive({ type, call, meta, value: undefined }, () => events.push("drain"));
  return { exchanges, events, begin, receive };
};

/** Exchanges whose calls overlap. */
const overlapping = () => {
  const { begin, ...more } = setUp();
  return { ...more, begin: () => begin({ result: 100 }, true) };
};

describe("Exchanges", () => {
  it.effect("ends with the first response, and ignores later frames and those of other calls", () =>
    Effect.gen(function* () {
      const { events, begin, receive } = setUp();
      const { call, end } = begin();
      receive(FrameType.result, call + 1);
      receive(FrameType.chunk, call);
      receive(FrameType.result, call, { which: 1 });
      receive(FrameType.result, call, { which: 2 });
      receive(FrameType.chunk, call);
      assert.deepStrictEqual(events, ["chunk", "drain"]);
      const { response } = yield* Deferred.await(end);
      assert.deepStrictEqual(response?.meta, { which: 1 });
    }),
  );

  it("does not drain the output when the response reports no pending output", () => {
    const { events, begin, receive } = setUp();
    receive(FrameType.result, begin().call, { pending: 0 });
    assert.isEmpty(events);
  });

  it.effect("ends with the exit of the process", () =>
    Effect.gen(function* () {
      const { exchanges, begin } = setUp();
      const { end } = begin();
      const exit = { code: 1, signal: undefined };
      exchanges.end(exit);
      assert.deepStrictEqual(yield* Deferred.await(end), { exit });
    }),
  );

  it("expects frames of the current and the previous call only", () => {
    const { exchanges, begin } = setUp();
    const first = begin({ result: 1 });
    exchanges.finish(first);
    const second = begin({ result: 2 });
    const limits = () =>
      [first, second].map(({ call }) => exchanges.limitOf(FrameType.result, call));
    assert.deepStrictEqual(limits(), [1, 2]);
    exchanges.finish(second);
    assert.deepStrictEqual(limits(), [undefined, 2]);
    const third = begin({ result: 3 });
    exchanges.finish(third);
    assert.deepStrictEqual(limits(), [undefined, undefined]);
  });

  it("separates output between two calls, and returns it once", () => {
    const { exchanges, events, begin } = setUp();
    exchanges.write(Buffer.from("idle"));
    begin();
    exchanges.write(Buffer.from("of the call"));
    assert.deepStrictEqual(events, ["output of the call"]);
    assert.strictEqual(exchanges.consumeIdleOutput(), "idle");
    assert.strictEqual(exchanges.consumeIdleOutput(), "");
  });

  describe("with calls that overlap", () => {
    it.effect("assigns frames to their calls, and ends each with its response", () =>
      Effect.gen(function* () {
        const { exchanges, events, begin, receive } = overlapping();
        const [first, second] = [begin(), begin()];
        receive(FrameType.output, second.call, { text: "of the second", value: null });
        receive(FrameType.output, first.call, { text: "of the first", value: null });
        receive(FrameType.chunk, first.call);
        receive(FrameType.result, second.call, { which: 2 });
        receive(FrameType.result, first.call, { which: 1, pending: 5 });
        assert.deepStrictEqual(events, ["output of the second", "output of the first", "chunk"]);
        const ends = yield* Effect.all([Deferred.await(first.end), Deferred.await(second.end)]);
        assert.deepStrictEqual(
          ends.map(({ response }) => response?.meta),
          [{ which: 1, pending: 5 }, { which: 2 }],
        );
        assert.isUndefined(exchanges.limitOf(FrameType.result, first.call));
      }),
    );

    it("expects output frames of running calls only, and never of a call that runs alone", () => {
      const { exchanges, begin, receive } = overlapping();
      const { call } = begin();
      assert.strictEqual(exchanges.limitOf(FrameType.output, call), 0);
      receive(FrameType.result, call);
      assert.isUndefined(exchanges.limitOf(FrameType.output, call));
      const alone = setUp();
      assert.isUndefined(alone.exchanges.limitOf(FrameType.output, alone.begin().call));
    });

    it("ignores the output of a call that is finished but still runs, and expects its response", () => {
      const { exchanges, events, begin, receive } = overlapping();
      const abandoned = begin();
      exchanges.finish(abandoned);
      receive(FrameType.output, abandoned.call, { text: "late", value: null });
      receive(FrameType.chunk, abandoned.call);
      assert.isEmpty(events);
      assert.strictEqual(exchanges.limitOf(FrameType.result, abandoned.call), 100);
    });

    it("sends output in the pipe to the function for output of no call", () => {
      const { exchanges, events, begin } = overlapping();
      exchanges.redirectIdleOutput((bytes) => events.push(`idle ${String(bytes)}`));
      begin();
      exchanges.write(Buffer.from("text"));
      assert.deepStrictEqual(events, ["idle text"]);
    });

    it.effect("all end with the exit of the process", () =>
      Effect.gen(function* () {
        const { exchanges, begin } = overlapping();
        const [first, second] = [begin(), begin()];
        const exit = { code: 1, signal: undefined };
        exchanges.end(exit);
        const ends = yield* Effect.all([Deferred.await(first.end), Deferred.await(second.end)]);
        assert.deepStrictEqual(ends, [{ exit }, { exit }]);
      }),
    );
  });
});
