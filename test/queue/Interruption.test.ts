import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Fiber, Layer, Option, Queue } from "effect";

import { JobQueue } from "../../src/queue/JobQueue.ts";
import { QueueWorker } from "../../src/queue/QueueWorker.ts";
import { Delivery } from "../../src/queue/reports/Delivery.ts";
import { ResultStore } from "../../src/queue/reports/ResultStore.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { interruptedAtEveryStep, turns } from "../support/effects/Interruption.ts";
import { keptLogs } from "../support/fakes/CapturedLogs.ts";
import { fakeJobQueue } from "../support/fakes/FakeJobQueue.ts";
import { inMemoryWorker } from "../support/fakes/InMemoryQueueWorker.ts";

/** The maximum number of scheduler steps that the interrupted effects take. */
const STEPS = 40;

const steps = Array.from({ length: STEPS }, (_, step) => step);

const MAX_WAITING_BYTES = 256 * 1024 * 1024;
const large = new Uint8Array(MAX_WAITING_BYTES);

describe("an interruption at any step", { timeout: 60_000 }, () => {
  it.effect("of a job by RunPod releases its slot for the next job", () =>
    Effect.forEach(
      steps,
      Effect.fnUntraced(function* (step) {
        const offered = yield* Queue.unbounded<string>();
        const stops = yield* Queue.unbounded<string>();
        const gate = yield* Deferred.make<void>();
        const wasTaken = yield* Deferred.make<void>();
        const running = new Set<string>();
        const results: Array<string> = [];
        const layer = inMemoryWorker(
          {
            take: () =>
              Effect.map(Queue.take(offered), (id) => {
                Deferred.doneUnsafe(wasTaken, Effect.void);
                return { jobs: [{ id }], invalid: [] };
              }),
            stops: Effect.map(Queue.take(stops), (id) => [id]),
            complete: (id) => Effect.sync(() => results.push(id)),
          },
          { WORKER_CONCURRENCY: "2" },
        );
        yield* Effect.gen(function* () {
          const worker = yield* QueueWorker;
          const fiber = yield* Effect.forkChild(
            worker.run(({ id }) =>
              Effect.andThen(
                Effect.sync(() => running.add(id)),
                Deferred.await(gate),
              ),
            ),
          );
          yield* Queue.offer(offered, "first");
          yield* Deferred.await(wasTaken);
          yield* turns(step);
          yield* Queue.offer(stops, "first");
          yield* turns(2 * STEPS);
          yield* Queue.offerAll(offered, ["second", "third"]);
          yield* turns(4 * STEPS);
          assert.includeMembers([...running], ["second", "third"], `stopped after step ${step}`);
          yield* Deferred.succeed(gate, undefined);
          yield* worker.drain;
          yield* Fiber.join(fiber);
          assert.sameMembers(
            results.filter((id) => id !== "first"),
            ["second", "third"],
          );
        }).pipe(Effect.provide(layer));
      }),
      { discard: true },
    ),
  );

  it.effect("of the worker loses no job without an entry in the log", () =>
    Effect.forEach(
      steps,
      Effect.fnUntraced(function* (step) {
        const logs = keptLogs();
        const taken: Array<string> = [];
        const results: Array<string> = [];
        const layer = inMemoryWorker(
          {
            take: (count) =>
              Effect.sync(() => {
                const jobs = Array.from({ length: count }, (_, n) => ({
                  id: `job-${taken.length + n}`,
                }));
                taken.push(...jobs.map(({ id }) => id));
                return { jobs, invalid: [] };
              }),
            complete: (id) =>
              Effect.andThen(
                turns(3),
                Effect.sync(() => results.push(id)),
              ),
          },
          { WORKER_CONCURRENCY: "3" },
        );
        yield* Effect.gen(function* () {
          const worker = yield* QueueWorker;
          const fiber = yield* Effect.forkChild(
            worker.run(({ id }) => Effect.as(turns(Number(id.slice(4)) % 9), id)),
          );
          yield* turns(step);
          yield* Fiber.interrupt(fiber);
        }).pipe(Effect.provide(Layer.merge(layer, logs.layer)));
        const lost = logs
          .errors()
          .flatMap((line) => /result of job (job-\d+) .* is lost/.exec(line)?.[1] ?? []);
        assert.sameMembers([...results, ...lost], taken, `interrupted after step ${step}`);
      }),
      { discard: true },
    ),
  );

  it.effect("of Delivery.accept releases the memory limit, and finishes each result once", () =>
    Effect.forEach(
      steps,
      Effect.fnUntraced(function* (step) {
        const gate = yield* Deferred.make<void>();
        const finished: Array<string> = [];
        const sent: Array<string> = [];
        const layer = inMemoryWorker({
          complete: (id) =>
            Effect.andThen(
              Deferred.await(gate),
              Effect.sync(() => sent.push(id)),
            ),
        });
        yield* Effect.gen(function* () {
          const { accept, idle } = yield* Delivery;
          const handOver = (jobId: string) =>
            accept(
              { jobId, body: large, isStream: false },
              Effect.void,
              Effect.sync(() => finished.push(jobId)),
            );
          const first = yield* Effect.forkChild(handOver("first"));
          const second = yield* Effect.forkChild(handOver("second"));
          yield* turns(step);
          yield* Effect.all([Fiber.interrupt(first), Fiber.interrupt(second)]);
          yield* Deferred.succeed(gate, undefined);
          // It needs the whole capacity.
          yield* handOver("third");
          yield* idle;
          assert.deepStrictEqual(finished, sent, `interrupted after step ${step}`);
          assert.include(sent, "third");
        }).pipe(Effect.provide(layer));
      }),
      { discard: true },
    ),
  );

  it.effect("of Delivery.accept leaves no delivery running after Delivery.idle completes", () =>
    interruptedAtEveryStep((interrupted, about) => {
      const started: Array<string> = [];
      const ended: Array<string> = [];
      return Effect.gen(function* () {
        const { accept, idle } = yield* Delivery;
        yield* interrupted(
          accept(
            { jobId: "job", body: large, isStream: false },
            Effect.andThen(
              Effect.sync(() => started.push("job")),
              turns(5 * STEPS),
            ),
            Effect.sync(() => ended.push("job")),
          ),
        );
        yield* idle;
        yield* turns(2 * STEPS);
        assert.deepStrictEqual(ended, started, about);
      }).pipe(Effect.provide(inMemoryWorker({ complete: () => Effect.void })));
    }),
  );

  it.effect("of Delivery.resume loses no result that was loaded from disk", () =>
    interruptedAtEveryStep((interrupted, about) => {
      const loaded: Array<string> = [];
      const sent: Array<string> = [];
      const load = (jobId: string) =>
        Effect.sync(() => {
          loaded.push(jobId);
          return Option.some({ jobId, body: new Uint8Array(), isStream: false });
        });
      return Effect.gen(function* () {
        const { resume, idle } = yield* Delivery;
        yield* interrupted(resume);
        yield* idle;
        assert.deepStrictEqual(sent, loaded, about);
      }).pipe(
        Effect.provide(
          Delivery.layerNoDeps.pipe(
            Layer.provide([
              Layer.mock(ResultStore, { kept: Effect.succeed([load("one"), load("two")]) }),
              Layer.succeed(
                JobQueue,
                fakeJobQueue({ complete: (id) => Effect.sync(() => sent.push(id)) }),
              ),
              Environment.layerOf({}),
            ]),
            Layer.merge(keptLogs().layer),
          ),
        ),
      );
    }),
  );
});

describe("a delivery that fails with a defect", () => {
  it.effect("is logged as lost, and releases its memory and its job", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      const { accept, idle } = yield* Delivery;
      let ended = 0;
      const end = Effect.sync(() => (ended += 1));
      yield* accept({ jobId: "one", body: large, isStream: false }, Effect.die("broken"), end);
      yield* accept({ jobId: "two", body: large, isStream: false }, Effect.void, end);
      yield* idle;
      assert.strictEqual(ended, 2);
      assert.match(
        logs.errors().join(),
        /result of job one .* is lost: sending it failed \(broken\)/,
      );
    }).pipe(
      Effect.provide(Layer.merge(inMemoryWorker({ complete: () => Effect.void }), logs.layer)),
    );
  });
});
