import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect } from "effect";

import { FrameType } from "../../../src/runner/RunnerProtocol.ts";
import { Exchanges } from "../../../src/runner/call/Exchanges.ts";

const setUp = () => {
  const exchanges = new Exchanges();
  const events: Array<string> = [];
  const begin = (limits = { result: 100 }) =>
    exchanges.begin({
      limits,
      output: (bytes) => events.push(`output ${String(bytes)}`),
      chunk: () => events.push("chunk"),
    });
  const receive = (type: number, call: number, meta: object = {}) =>
    exchanges.receive({ type, call, meta, value: undefined }, () => events.push("drain"));
  return { exchanges, events, begin, receive };
};

describe("the exchanges with a runner", () => {
  it.effect(
    "end with the first answer, and ignore what comes later or belongs to another call",
    () =>
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

  it("do not drain the output when the answer says that nothing is pending", () => {
    const { events, begin, receive } = setUp();
    receive(FrameType.result, begin().call, { pending: 0 });
    assert.isEmpty(events);
  });

  it.effect("end with the process", () =>
    Effect.gen(function* () {
      const { exchanges, begin } = setUp();
      const { end } = begin();
      const exit = { code: 1, signal: undefined };
      exchanges.end({ exit });
      assert.deepStrictEqual(yield* Deferred.await(end), { exit });
    }),
  );

  it("expect frames of the current call and of the one before, and then of neither", () => {
    const { exchanges, begin } = setUp();
    const first = begin({ result: 1 });
    exchanges.finish();
    const second = begin({ result: 2 });
    const limits = () =>
      [first, second].map(({ call }) => exchanges.limitOf(FrameType.result, call));
    assert.deepStrictEqual(limits(), [1, 2]);
    exchanges.finish();
    assert.deepStrictEqual(limits(), [undefined, 2]);
    exchanges.finish();
    assert.deepStrictEqual(limits(), [undefined, undefined]);
  });

  it("keep output between two calls apart, and hand it over once", () => {
    const { exchanges, events, begin } = setUp();
    exchanges.write(Buffer.from("idle"));
    begin();
    exchanges.write(Buffer.from("of the call"));
    assert.deepStrictEqual(events, ["output of the call"]);
    assert.strictEqual(exchanges.consumeIdleOutput(), "idle");
    assert.strictEqual(exchanges.consumeIdleOutput(), "");
  });
});
