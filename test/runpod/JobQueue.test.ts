import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { atWork, echo } from "../support/WorkerAtWork.ts";

describe.concurrent("a worker is told", () => {
  const NONSENSE: ReadonlyArray<readonly [string, string, string?]> = [
    ["HTML", "<html>busy</html>", "text/html"],
    ["cut JSON", '{"id": "a", "inp'],
    ["an empty body", ""],
    ["a number", "7"],
    ["null", "null"],
    ["a job without an id", '{"input": 1}'],
    ["an empty list", "[]"],
  ];
  it.live.each(NONSENSE)("%s instead of a job, and goes on", ([, text, contentType]) =>
    Effect.gen(function* () {
      const { service } = yield* atWork(echo);
      service.answer(text, contentType);
      const id = service.submit("after");
      assert.strictEqual((yield* service.result(id)).body["output"], "after");
    }).pipe(Effect.scoped),
  );

  it.live.each<readonly [number, number]>([
    [400, 400],
    [401, 400],
    [404, 400],
    [429, 4000],
    [500, 400],
    [503, 400],
  ])(
    "status %i, and asks again after a while",
    ([status, pause]) =>
      Effect.gen(function* () {
        const { service } = yield* atWork(echo, {}, ({ faults }) =>
          faults("take", (number) => (number === 0 ? { kind: "status", status } : undefined)),
        );
        yield* service.result(service.submit("after"));
        const [first, second] = service.requests.filter(({ route }) => route === "take");
        assert.isAtLeast((second?.at ?? 0) - (first?.at ?? 0), pause);
      }).pipe(Effect.scoped),
    15_000,
  );

  it.live(
    "that there is nothing, at once, again and again, and asks no more than twice a second",
    () =>
      Effect.gen(function* () {
        const { service } = yield* atWork(echo, { hold: 0 });
        yield* service.seen("take", 4);
        const [first, , , fourth] = service.requests.filter(({ route }) => route === "take");
        assert.isAtLeast((fourth?.at ?? 0) - (first?.at ?? 0), 1500);
      }).pipe(Effect.scoped),
  );

  it.live("of resets, cut answers and jobs in lists, and takes all that can be used", () =>
    Effect.gen(function* () {
      const { service } = yield* atWork(echo, {}, ({ faults }) =>
        faults("take", (number) =>
          number === 0
            ? { kind: "reset" }
            : number === 1
              ? { kind: "cut", body: '{"id": "cut"' }
              : undefined,
        ),
      );
      service.answer('[{"id": "a", "input": 1}, {"input": 2}, {"id": 3}, {"id": "b", "input": 4}]');
      yield* Effect.forEach(["a", "b"], service.result);
      assert.lengthOf(service.results, 2);
    }).pipe(Effect.scoped),
  );
});
