import { assert, describe, it } from "@effect/vitest";
import { Clock, Effect } from "effect";
import { TestClock } from "effect/testing";

import { QueueWorker } from "../../src/queue/QueueWorker.ts";
import { chunkStream } from "../../src/queue/reports/ChunkStream.ts";
import { Delivery } from "../../src/queue/reports/Delivery.ts";
import { PostFailed, TakeFailed } from "../../src/queue/runpod/RequestFailed.ts";
import { fakeJobQueue } from "../support/fakes/FakeJobQueue.ts";
import { inMemoryWorker } from "../support/fakes/InMemoryQueueWorker.ts";

/** Records the times of calls, and returns the pauses between them in milliseconds. */
const recorder = () => {
  const times: Array<number> = [];
  return {
    call: Effect.map(Clock.currentTimeMillis, (now) => void times.push(now)),
    pauses: () => times.slice(1).map((time, index) => time - (times[index] ?? 0)),
  };
};

/** Checks that pauses are random, so that workers that fail at the same time do not retry at the same time. */
const assertJittered = (
  pauses: ReadonlyArray<number>,
  planned: ReadonlyArray<number>,
  [least, most]: readonly [number, number],
) => {
  const shares = planned.map((pause, index) => (pauses[index] ?? 0) / pause);
  for (const share of shares) assert.isTrue(share >= least && share <= most, `${pauses}`);
  // The rounding of milliseconds alone is no jitter.
  assert.isAbove(Math.max(...shares) - Math.min(...shares), 0.01, `${pauses}`);
};

const PLANNED = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];

describe("random jitter is added to the pauses", () => {
  it.effect("between failed takes", () => {
    const { call, pauses } = recorder();
    const take = () => Effect.andThen(call, Effect.fail(new TakeFailed({ reason: "no" })));
    return Effect.gen(function* () {
      const worker = yield* QueueWorker;
      yield* Effect.forkScoped(worker.run(() => Effect.void));
      yield* TestClock.adjust("5 minutes");
      assertJittered(pauses(), PLANNED, [1, 1.2]);
    }).pipe(Effect.scoped, Effect.provide(inMemoryWorker({ take })));
  });

  it.effect("between tries to deliver a result", () => {
    const { call, pauses } = recorder();
    const complete = () => Effect.andThen(call, Effect.fail(new PostFailed({ reason: "no" })));
    return Effect.gen(function* () {
      const delivery = yield* Delivery;
      const result = { jobId: "job", body: new Uint8Array(), isStream: false };
      yield* delivery.accept(result, Effect.void, Effect.void);
      yield* TestClock.adjust("4 minutes");
      assertJittered(pauses(), PLANNED, [0.8, 1.2]);
    }).pipe(Effect.provide(inMemoryWorker({ complete })));
  });

  it.effect("between tries to send a value of a stream", () => {
    const { call, pauses } = recorder();
    const queue = fakeJobQueue({
      chunk: () => Effect.andThen(call, Effect.fail(new PostFailed({ reason: "no" }))),
    });
    return Effect.gen(function* () {
      const stream = yield* chunkStream(queue, "job");
      stream.offer("value");
      yield* TestClock.adjust("1 minute");
      assertJittered(pauses(), [250, 500, 1000, 2000], [0.8, 1.2]);
    }).pipe(Effect.scoped);
  });
});
