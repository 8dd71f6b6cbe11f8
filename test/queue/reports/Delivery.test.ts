import { assert, describe, it } from "@effect/vitest";
import { Duration, Clock, Deferred, Effect, Fiber, Layer, Option } from "effect";
import { TestClock } from "effect/testing";

import { JobQueue } from "../../../src/queue/JobQueue.ts";
import { Delivery } from "../../../src/queue/reports/Delivery.ts";
import type { JobResult } from "../../../src/queue/reports/JobResult.ts";
import { ResultStore } from "../../../src/queue/reports/ResultStore.ts";
import { PostFailed } from "../../../src/queue/runpod/RequestFailed.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { turns } from "../../support/effects/Interruption.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { fakeJobQueue } from "../../support/fakes/FakeJobQueue.ts";

const resultOf = (jobId: string, bytes = 0): JobResult => ({
  jobId,
  body: new Uint8Array(bytes),
  isStream: false,
});

const MAX_WAITING_BYTES = 256 * 1024 * 1024;

interface Options {
  readonly complete?: JobQueue["Service"]["complete"];
  /** Whether the store accepts undelivered results. */
  readonly isKept?: boolean;
  /** The results that an earlier worker stored. */
  readonly earlier?: ReadonlyArray<Effect.Effect<Option.Option<JobResult>>>;
  /** WORKER_RESULT_RETRY in seconds. */
  readonly retrySeconds?: number;
}

/** A `Delivery` with a given service and store; `unsent` are the results that were passed to the store. */
const deliveryWith = ({ complete, isKept = false, earlier = [], retrySeconds = 60 }: Options) => {
  const logs = keptLogs();
  const unsent: Array<JobResult> = [];
  const store = ResultStore.of({
    keep: (result) =>
      Effect.sync(() => {
        unsent.push(result);
        return isKept;
      }),
    kept: Effect.succeed(earlier),
  });
  const layer = Delivery.layerNoDeps.pipe(
    Layer.provide([
      Layer.succeed(JobQueue, fakeJobQueue(complete === undefined ? {} : { complete })),
      Layer.succeed(ResultStore, store),
      Environment.layerOf({ WORKER_RESULT_RETRY: String(retrySeconds) }),
    ]),
    Layer.provideMerge(logs.layer),
  );
  return { layer, logs, unsent };
};

const ids = (results: ReadonlyArray<JobResult>) => results.map(({ jobId }) => jobId);

describe("Delivery", () => {
  it.effect(
    "runs the effect before a result, sends the result, and then reports the end of its delivery",
    () => {
      const seen: Array<string> = [];
      const note = (what: string) => Effect.sync(() => void seen.push(what));
      const { layer, logs, unsent } = deliveryWith({
        complete: (jobId, body, isStream) => note(`${jobId} ${body.length} ${isStream}`),
      });
      return Effect.gen(function* () {
        const { accept, idle } = yield* Delivery;
        yield* accept(
          { ...resultOf("job", 3), isStream: true },
          Effect.andThen(Effect.yieldNow, note("before")),
          note("finished"),
        );
        yield* idle;
        assert.deepStrictEqual(seen, ["before", "job 3 true", "finished"]);
        assert.isEmpty([...unsent, ...logs.warnings(), ...logs.errors()]);
      }).pipe(Effect.provide(layer));
    },
  );

  it.effect("sets the timeout of a try from WORKER_RESULT_RETRY and the size of the result", () =>
    Effect.gen(function* () {
      for (const [retrySeconds, bytes, expected] of [
        [300, 0, 30],
        [300, 2_000_000, 32],
        [20, 0, 2],
        [5, 0, 1],
        [0, 0, 1],
        [0, 500_000, 1.5],
        [600, 0, 60],
        [3600, 0, 60],
        [3600, 30_000_000, 90],
      ] as const) {
        const limits: Array<number> = [];
        const { layer } = deliveryWith({
          retrySeconds,
          complete: (_id, _body, _isStream, limit) =>
            Effect.sync(() => void limits.push(Duration.toSeconds(limit))),
        });
        yield* Effect.gen(function* () {
          const { accept, idle } = yield* Delivery;
          yield* accept(resultOf("job", bytes), Effect.void, Effect.void);
          yield* idle;
        }).pipe(Effect.provide(layer));
        assert.deepStrictEqual(limits, [expected]);
      }
    }),
  );

  it.effect.each([true, false])(
    "retries for WORKER_RESULT_RETRY, and then stores the result or logs its loss (stored: %s)",
    (isKept) => {
      const tries: Array<number> = [];
      const finished: Array<number> = [];
      const { layer, logs, unsent } = deliveryWith({
        isKept,
        complete: () =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => {
            tries.push(now);
            return Effect.fail(new PostFailed({ status: 503, reason: "HTTP 503" }));
          }),
      });
      return Effect.gen(function* () {
        const { accept, idle } = yield* Delivery;
        const done = Effect.map(Clock.currentTimeMillis, (now) => void finished.push(now));
        yield* accept(resultOf("job", 99_999), Effect.void, done);
        yield* TestClock.adjust("25 seconds");
        assert.isEmpty([...unsent, ...finished]);
        yield* TestClock.adjust("75 seconds");
        yield* idle;
        assert.isAbove(tries.at(-1) ?? 0, 25_000);
        assert.deepStrictEqual(ids(unsent), ["job"]);
        assert.deepStrictEqual(finished, tries.slice(-1));
        const delays = logs
          .warnings()
          .filter((line) => line.includes("Could not deliver the result yet"));
        assert.lengthOf(delays, tries.length);
        const [last] = isKept
          ? logs.warnings().filter((line) => !delays.includes(line))
          : logs.errors();
        assert.include(last, "job (99999 bytes)");
        assert.include(last, isKept ? "stored for the next start" : "lost");
        assert.match(last ?? "", /60 seconds.*503/);
        assert.lengthOf(logs.errors(), isKept ? 0 : 1);
      }).pipe(Effect.provide(layer));
    },
  );

  it.effect("does not retry after status 404", () => {
    const sent: Array<string> = [];
    const { layer, logs, unsent } = deliveryWith({
      complete: (jobId) => {
        sent.push(jobId);
        return Effect.fail(new PostFailed({ status: 404, reason: "HTTP 404" }));
      },
    });
    return Effect.gen(function* () {
      const { accept, idle } = yield* Delivery;
      yield* accept(resultOf("job", 100_000), Effect.void, Effect.void);
      yield* idle;
      assert.deepStrictEqual(sent, ["job"]);
      assert.deepStrictEqual(ids(unsent), ["job"]);
      assert.isEmpty(logs.warnings());
      assert.match(logs.errors().join(), /job \(0\.1 MB\) is lost: .*no longer accepts it.*404/);
      assert.deepStrictEqual(logs.jobs(), ["job"]);
    }).pipe(Effect.provide(layer));
  });

  it.effect("stores a result when RunPod also rejects the error in its place", () => {
    const sent: Array<number> = [];
    const { layer, unsent } = deliveryWith({
      complete: (_id, body) => {
        sent.push(body.length);
        return Effect.fail(new PostFailed({ status: 413, reason: "HTTP 413" }));
      },
    });
    return Effect.gen(function* () {
      const { accept, idle } = yield* Delivery;
      yield* accept(resultOf("job", 200_000), Effect.void, Effect.void);
      yield* idle;
      assert.lengthOf(sent, 2);
      assert.strictEqual(sent[0], 200_000);
      assert.isBelow(sent[1] ?? 0, 1000);
      assert.deepStrictEqual(
        unsent.map(({ body }) => body.length),
        [200_000],
      );
    }).pipe(Effect.provide(layer));
  });

  it.effect("stores an undelivered result when the worker ends", () => {
    const finished: Array<string> = [];
    const { layer, logs, unsent } = deliveryWith({ complete: () => Effect.never });
    return Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const { accept } = yield* Delivery;
        yield* accept(
          resultOf("job"),
          Effect.void,
          Effect.sync(() => void finished.push("job")),
        );
      }).pipe(Effect.provide(layer));
      assert.deepStrictEqual(ids(unsent), ["job"]);
      assert.deepStrictEqual(finished, ["job"]);
      assert.match(logs.errors().join(), /job .* is lost: the worker stopped/);
    });
  });

  it.effect("stores a result that it accepts just before the worker ends", () => {
    const { layer, unsent } = deliveryWith({ complete: () => Effect.never });
    return Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const { accept } = yield* Delivery;
        yield* Effect.forkChild(accept(resultOf("job"), Effect.void, Effect.void), {
          startImmediately: true,
        });
      }).pipe(Effect.provide(layer));
      assert.deepStrictEqual(ids(unsent), ["job"]);
    });
  });

  it.effect("stores a result whose delivery fails with a defect, and sends the next ones", () => {
    const sent: Array<string> = [];
    const { layer, logs, unsent } = deliveryWith({
      complete: (jobId) =>
        jobId === "broken"
          ? Effect.die(new Error("boom"))
          : Effect.sync(() => void sent.push(jobId)),
    });
    return Effect.gen(function* () {
      const { accept, idle } = yield* Delivery;
      yield* accept(resultOf("broken"), Effect.void, Effect.void);
      yield* accept(resultOf("good"), Effect.void, Effect.void);
      yield* idle;
      assert.deepStrictEqual(ids(unsent), ["broken"]);
      assert.deepStrictEqual(sent, ["good"]);
      assert.match(logs.errors().join(), /broken .* is lost: .*boom/);
    }).pipe(Effect.provide(layer));
  });

  it.effect("sends results concurrently, also one that is larger than the memory limit", () => {
    const sent: Array<string> = [];
    const { layer } = deliveryWith({
      complete: (jobId) =>
        jobId === "slow" ? Effect.never : Effect.sync(() => void sent.push(jobId)),
    });
    return Effect.gen(function* () {
      const { accept } = yield* Delivery;
      for (const result of [
        resultOf("slow"),
        resultOf("next", 10),
        resultOf("huge", MAX_WAITING_BYTES + 1),
      ]) {
        yield* accept(result, Effect.void, Effect.void);
      }
      yield* turns(50);
      assert.deepStrictEqual(sent, ["next", "huge"]);
    }).pipe(Effect.provide(layer));
  });

  it.effect(
    "sends the results that an earlier worker stored, and loads them only within the memory limit",
    () => {
      const loaded: Array<string> = [];
      const sent: Array<string> = [];
      const gate = Deferred.makeUnsafe<void>();
      const load = (result: JobResult) =>
        Effect.sync(() => {
          loaded.push(result.jobId);
          return Option.some(result);
        });
      const { layer } = deliveryWith({
        earlier: [
          Effect.succeedNone,
          load(resultOf("one", MAX_WAITING_BYTES)),
          load(resultOf("two", MAX_WAITING_BYTES)),
          load(resultOf("three")),
        ],
        complete: (jobId) =>
          Effect.andThen(
            Deferred.await(gate),
            Effect.sync(() => void sent.push(jobId)),
          ),
      });
      return Effect.gen(function* () {
        const { resume, idle } = yield* Delivery;
        const resuming = yield* Effect.forkChild(resume);
        yield* turns(50);
        assert.deepStrictEqual(loaded, ["one", "two"]);
        yield* Deferred.succeed(gate, undefined);
        yield* Fiber.join(resuming);
        yield* idle;
        assert.deepStrictEqual(sent, ["one", "two", "three"]);
      }).pipe(Effect.provide(layer));
    },
  );

  it.effect("keeps the slot of a job while the memory limit is reached", () => {
    const gate = Deferred.makeUnsafe<void>();
    const { layer } = deliveryWith({ complete: () => Deferred.await(gate) });
    return Effect.gen(function* () {
      const { accept, idle } = yield* Delivery;
      const large = (jobId: string) =>
        accept(resultOf(jobId, 200 * 1024 * 1024), Effect.void, Effect.void);
      yield* large("one");
      const waiting = yield* Effect.forkChild(large("two"));
      yield* turns(50);
      assert.isUndefined(waiting.pollUnsafe());
      yield* Deferred.succeed(gate, undefined);
      yield* Fiber.join(waiting);
      yield* idle;
    }).pipe(Effect.provide(layer));
  });
});
