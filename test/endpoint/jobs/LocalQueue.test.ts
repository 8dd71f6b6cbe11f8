import { NodeServices } from "@effect/platform-node";
import { assert, describe, it, vi } from "@effect/vitest";
import { Duration, Effect, Fiber, FileSystem, Layer } from "effect";
import { HttpClient, HttpClientResponse } from "effect/http";
import { TestClock } from "effect/testing";

import type { JobRequest, JobStatus } from "../../../src/domain/EndpointJob.ts";
import { makeRequestBudget, RequestBudget } from "../../../src/endpoint/http/RequestBody.ts";
import { FinishedBytes } from "../../../src/endpoint/jobs/JobTable.ts";
import { WaitingWebhookBytes } from "../../../src/endpoint/jobs/JobWebhook.ts";
import { type LocalJob, streamJson } from "../../../src/endpoint/jobs/LocalJob.ts";
import { LocalQueue } from "../../../src/endpoint/jobs/LocalQueue.ts";
import { JobStore } from "../../../src/endpoint/store/JobStore.ts";
import type { JobStoreUnusable } from "../../../src/endpoint/store/JobStoreUnusable.ts";
import { interruptedAtEveryStep, turns } from "../../support/effects/Interruption.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";

/** A timeout for the worker's requests, which has no effect here. */
const LIMIT = Duration.seconds(1);

/** A store with a slow disk. */
const slowStore = Layer.succeed(
  JobStore,
  JobStore.of({
    isPersistent: true,
    add: () => turns(2),
    update: () => turns(2),
    remove: () => turns(2),
    kept: Effect.succeed([]),
  }),
);

/** A queue whose webhooks respond with these statuses in turn, and then with 200. */
const withQueue = (
  statuses: ReadonlyArray<number> = [],
  store: Layer.Layer<JobStore, JobStoreUnusable> = JobStore.layerNone,
) => {
  const posted: Array<{ readonly url: string; readonly body: unknown }> = [];
  const client = HttpClient.make((request) =>
    Effect.sync(() => {
      const { body } = request;
      posted.push({
        url: request.url,
        body: body._tag === "Uint8Array" ? JSON.parse(Buffer.from(body.body).toString()) : {},
      });
      return HttpClientResponse.fromWeb(
        request,
        new Response(null, { status: statuses[posted.length - 1] ?? 200 }),
      );
    }),
  );
  const layer = Layer.fresh(
    LocalQueue.layer.pipe(
      Layer.provide(store),
      Layer.provide(Layer.succeed(HttpClient.HttpClient, client)),
    ),
  );
  return { posted, layer };
};

/** A job as a worker takes it. */
const takenJob = (id: string, input: string) => ({
  id,
  input,
  inputText: Buffer.from(JSON.stringify(input)),
});

const requestOf = (input: string, more: Partial<JobRequest> = {}): JobRequest => ({
  input,
  ...more,
});

const body = (result: unknown) => Buffer.from(JSON.stringify(result));

/** A job as a client sees it. */
const shown = (job: LocalJob) => JSON.parse(Buffer.from(job.toJson()).toString());

/** The same for values of a stream. */
const streamed = ({ status, chunks }: { status: JobStatus; chunks: ReadonlyArray<Uint8Array> }) =>
  JSON.parse(Buffer.from(streamJson(status, chunks)).toString());

/** Takes one job and sends its result. */
const runJob = Effect.fnUntraced(function* (result: unknown) {
  return yield* carryOutWith(body(result));
});

const carryOutWith = Effect.fnUntraced(function* (result: Uint8Array) {
  const { forWorker } = yield* LocalQueue;
  const { jobs } = yield* forWorker.take(1, false);
  const [job] = jobs;
  if (job === undefined) return assert.fail("there was no job");
  yield* forWorker.complete(job.id, result, false, LIMIT);
  return job;
});

/** An operation on a queue with a job. */
type Act = (queue: LocalQueue["Service"], id: string) => Effect.Effect<unknown, unknown>;

const nothing: Act = () => Effect.void;
const take: Act = ({ forWorker }) => forWorker.take(1, false);
const cancel: Act = (queue, id) => queue.cancel(id);

describe("the queue of a local endpoint", () => {
  it.effect("delivers jobs in order, as many as requested, and reports how they ended", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      const taking = yield* Effect.forkChild(queue.forWorker.take(2, false));
      yield* Effect.yieldNow;
      const first = yield* queue.submit(requestOf("a"));
      assert.strictEqual(first.status, "IN_QUEUE");
      const second = yield* queue.submit(requestOf("b"));
      const third = yield* queue.submit(requestOf("c"));
      const { jobs } = yield* Fiber.join(taking);
      const more = yield* queue.forWorker.take(5, true);
      assert.deepStrictEqual(
        [...jobs, ...more.jobs].map(({ id }) => id),
        [first.id, second.id, third.id],
      );
      assert.strictEqual((yield* queue.status(first.id)).status, "IN_PROGRESS");

      yield* TestClock.adjust("2 seconds");
      yield* queue.forWorker.complete(first.id, body({ output: { success: true } }), false, LIMIT);
      assert.deepInclude(shown(yield* queue.status(first.id)), {
        status: "COMPLETED",
        executionTime: 2000,
        output: { success: true },
      });
      const failed = { output: { success: false, stdout: "x" }, error: "ValueError: no" };
      yield* queue.forWorker.complete(second.id, body(failed), false, LIMIT);
      assert.deepInclude(shown(yield* queue.status(second.id)), { status: "FAILED", ...failed });
      assert.deepInclude(yield* queue.counts, {
        IN_QUEUE: 0,
        IN_PROGRESS: 1,
        COMPLETED: 1,
        FAILED: 1,
      });
    }).pipe(Effect.provide(withQueue().layer)),
  );

  it.effect("shows progress until there is a result, and ignores progress afterwards", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      const { id } = yield* queue.submit(requestOf("a"));
      yield* queue.forWorker.take(1, false);
      const progress = body({ status: "IN_PROGRESS", output: { stage: "running" } });
      yield* queue.forWorker.complete(id, progress, false, LIMIT);
      const view = shown(yield* queue.status(id));
      assert.strictEqual(view.status, "IN_PROGRESS");
      assert.deepStrictEqual(view.output, { stage: "running" });
      yield* queue.forWorker.complete(id, body({ output: 1 }), false, LIMIT);
      yield* queue.forWorker.complete(id, progress, false, LIMIT);
      assert.deepInclude(shown(yield* queue.status(id)), { status: "COMPLETED", output: 1 });
    }).pipe(Effect.provide(withQueue().layer)),
  );

  it.effect("lets clients wait for the end of a job with a timeout", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      const { id } = yield* queue.submit(requestOf("a"));
      const short = yield* Effect.forkChild(queue.wait(id, 1000));
      const long = yield* Effect.forkChild(queue.wait(id, 60_000));
      yield* TestClock.adjust("1 second");
      assert.strictEqual((yield* Fiber.join(short)).status, "IN_QUEUE");
      yield* runJob({ output: 1 });
      assert.strictEqual((yield* Fiber.join(long)).status, "COMPLETED");
    }).pipe(Effect.provide(withQueue().layer)),
  );

  it.effect("returns each value of a stream once and in order, and waits for the next one", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      const { id } = yield* queue.submit(requestOf("a"));
      const waiting = yield* Effect.forkChild(queue.stream(id, 5000));
      yield* TestClock.adjust("1 second");
      yield* queue.forWorker.take(1, false);
      yield* queue.forWorker.chunk(id, body({ output: 1 }), LIMIT);
      assert.deepStrictEqual(streamed(yield* Fiber.join(waiting)), {
        status: "IN_PROGRESS",
        stream: [{ output: 1 }],
      });
      yield* queue.forWorker.chunk(id, body({ output: 2 }), LIMIT);
      yield* queue.forWorker.chunk(id, body({ output: 3 }), LIMIT);
      yield* queue.forWorker.complete(id, body({ output: [1, 2, 3] }), true, LIMIT);
      assert.deepStrictEqual(streamed(yield* queue.stream(id, 5000)), {
        status: "COMPLETED",
        stream: [{ output: 2 }, { output: 3 }],
      });
      assert.deepStrictEqual(yield* queue.stream(id, 5000), { status: "COMPLETED", chunks: [] });
      const { id: silent } = yield* queue.submit(requestOf("b"));
      const idle = yield* Effect.forkChild(queue.stream(silent, 5000));
      yield* TestClock.adjust("5 seconds");
      assert.deepStrictEqual(yield* Fiber.join(idle), { status: "IN_QUEUE", chunks: [] });
    }).pipe(Effect.provide(withQueue().layer)),
  );

  it.effect("cancels queued jobs immediately, and lets the worker stop running jobs", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      const running = yield* queue.submit(requestOf("a"));
      yield* queue.forWorker.take(1, false);
      const waiting = yield* queue.submit(requestOf("b"));
      const cancelled = shown(yield* queue.cancel(waiting.id));
      assert.strictEqual(cancelled.status, "CANCELLED");
      assert.isString(cancelled.workerId);
      assert.strictEqual((yield* queue.cancel(running.id)).status, "CANCELLED");
      assert.deepStrictEqual(yield* queue.forWorker.stops, [running.id]);
      // A result that arrives later is ignored.
      yield* queue.forWorker.complete(running.id, body({ output: 1 }), false, LIMIT);
      assert.strictEqual((yield* queue.status(running.id)).status, "CANCELLED");
      const after = yield* queue.submit(requestOf("c"));
      assert.deepStrictEqual((yield* queue.forWorker.take(9, false)).jobs, [
        takenJob(after.id, "c"),
      ]);
    }).pipe(Effect.provide(withQueue().layer)),
  );

  it.effect("retries only failed jobs, with the same id", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      const { id } = yield* queue.submit(requestOf("a"));
      yield* runJob({ error: "no" });
      assert.deepInclude(shown(yield* queue.retry(id)), { status: "IN_QUEUE", retries: 1 });
      assert.notProperty(yield* queue.status(id), "error");
      assert.deepStrictEqual(yield* runJob({ output: 2 }), takenJob(id, "a"));
      assert.deepInclude(shown(yield* queue.retry(id)), {
        status: "COMPLETED",
        output: 2,
        retries: 1,
      });
      assert.strictEqual((yield* queue.counts).retried, 1);
    }).pipe(Effect.provide(withQueue().layer)),
  );

  it.effect("does not run a job that is cancelled while its retry is being stored", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      const { id } = yield* queue.submit(requestOf("a"));
      yield* runJob({ error: "no" });
      const retrying = yield* Effect.forkChild(queue.retry(id));
      yield* turns(1);
      assert.strictEqual((yield* queue.cancel(id)).status, "CANCELLED");
      yield* Fiber.join(retrying);
      yield* queue.submit(requestOf("b"));
      const { jobs } = yield* queue.forWorker.take(9, false);
      assert.deepStrictEqual(
        jobs.map(({ input }) => input),
        ["b"],
      );
      assert.strictEqual((yield* queue.status(id)).status, "CANCELLED");
    }).pipe(Effect.provide(withQueue([], slowStore).layer)),
  );

  it.effect("purges queued jobs but not running jobs", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      const running = yield* queue.submit(requestOf("a"));
      yield* queue.forWorker.take(1, false);
      const waiting = yield* queue.submit(requestOf("b"));
      yield* queue.submit(requestOf("c"));
      assert.strictEqual(yield* queue.purge, 2);
      assert.strictEqual((yield* queue.status(waiting.id)).status, "CANCELLED");
      assert.strictEqual((yield* queue.status(running.id)).status, "IN_PROGRESS");
    }).pipe(Effect.provide(withQueue().layer)),
  );

  it.effect("ends jobs at their execution timeout, and removes jobs at their ttl", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      const slow = yield* queue.submit(requestOf("a", { policy: { executionTimeout: 5000 } }));
      yield* queue.forWorker.take(1, false);
      const late = yield* queue.submit(requestOf("b", { policy: { ttl: 10_000 } }));
      yield* TestClock.adjust("7 seconds");
      const view = shown(yield* queue.status(slow.id));
      assert.strictEqual(view.status, "TIMED_OUT");
      assert.include(String(view.error), "timeout of 5 seconds");
      assert.deepStrictEqual(yield* queue.forWorker.stops, [slow.id]);
      assert.strictEqual((yield* queue.status(late.id)).status, "IN_QUEUE");
      yield* TestClock.adjust("5 seconds");
      const gone = yield* Effect.flip(queue.status(late.id));
      assert.include(gone.message, late.id);
      // By default a job may run for 10 minutes, and its result is kept for 30 minutes.
      const usual = yield* queue.submit(requestOf("c"));
      yield* queue.forWorker.take(1, false);
      yield* TestClock.adjust("9 minutes");
      assert.strictEqual((yield* queue.status(usual.id)).status, "IN_PROGRESS");
      yield* TestClock.adjust("2 minutes");
      assert.strictEqual((yield* queue.status(usual.id)).status, "TIMED_OUT");
      yield* TestClock.adjust("31 minutes");
      yield* Effect.flip(queue.status(usual.id));
    }).pipe(Effect.provide(withQueue().layer)),
  );

  describe("webhooks", () => {
    it.effect("receive finished jobs, with two retries", () => {
      const { layer, posted } = withQueue([500, 404]);
      return Effect.gen(function* () {
        const queue = yield* LocalQueue;
        const { id } = yield* queue.submit(requestOf("a", { webhook: "http://127.0.0.1:1/hook" }));
        yield* runJob({ output: 1 });
        yield* TestClock.adjust("5 seconds");
        assert.strictEqual(posted.length, 1);
        yield* TestClock.adjust("1 minute");
        assert.strictEqual(posted.length, 3);
        assert.strictEqual(posted[2]?.url, "http://127.0.0.1:1/hook");
        assert.deepInclude(posted[2]?.body, { id, status: "COMPLETED", output: 1 });
      }).pipe(Effect.provide(layer));
    });

    it.effect("that never respond with 200 cause a warning", () => {
      const { layer, posted } = withQueue([500, 500, 500, 500]);
      const logs = keptLogs();
      return Effect.gen(function* () {
        const queue = yield* LocalQueue;
        const { id } = yield* queue.submit(requestOf("a", { webhook: "http://127.0.0.1:1/hook" }));
        yield* runJob({ error: "no" });
        yield* TestClock.adjust("1 minute");
        assert.strictEqual(posted.length, 3);
        assert.strictEqual(logs.warnings().length, 1);
        assert.include(logs.warnings()[0], id);
      }).pipe(Effect.provide(Layer.merge(layer, logs.layer)));
    });
  });

  it.effect("runs unfinished jobs again after a restart with a store, and keeps results", () =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const folder = `${yield* files.makeTempDirectoryScoped()}/jobs`;
      const ids = yield* Effect.gen(function* () {
        const queue = yield* LocalQueue;
        const done = yield* queue.submit(requestOf("done"));
        yield* runJob({ output: "result" });
        yield* TestClock.adjust("1 second");
        const running = yield* queue.submit(requestOf("running"));
        yield* TestClock.adjust("1 second");
        const waiting = yield* queue.submit(requestOf("waiting"));
        yield* queue.forWorker.take(1, false);
        return [done.id, running.id, waiting.id] as const;
      }).pipe(Effect.provide(withQueue([], JobStore.layerFolder(folder)).layer));
      const [done, running, waiting] = ids;

      yield* Effect.gen(function* () {
        const queue = yield* LocalQueue;
        assert.deepInclude(shown(yield* queue.status(done)), {
          status: "COMPLETED",
          output: "result",
        });
        assert.deepStrictEqual((yield* queue.forWorker.take(9, false)).jobs, [
          takenJob(running, "running"),
          takenJob(waiting, "waiting"),
        ]);
      }).pipe(Effect.provide(withQueue([], JobStore.layerFolder(folder)).layer));
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );

  it.effect("removes expired jobs from the store", () =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const folder = yield* files.makeTempDirectoryScoped();
      yield* Effect.gen(function* () {
        const queue = yield* LocalQueue;
        yield* queue.submit(requestOf("a"));
        yield* runJob({ output: 1 });
        yield* TestClock.adjust("31 minutes");
      }).pipe(Effect.provide(withQueue([], JobStore.layerFolder(folder)).layer));
      const left = Effect.flatMap(JobStore, ({ kept }) => kept);
      assert.deepStrictEqual(yield* Effect.provide(left, JobStore.layerFolder(folder)), []);
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );

  describe("limits its memory", () => {
    const MIB = 1024 * 1024;
    const KIB = 1024;
    const large = body({ output: "x".repeat(100 * KIB) });
    const value = body({ output: "x".repeat(MIB) });
    /** About a hundredth of the real limits. */
    const limits = Layer.mergeAll(
      Layer.succeed(FinishedBytes, 1280 * KIB),
      Layer.succeed(WaitingWebhookBytes, 640 * KIB),
    );

    it.effect("by removing the oldest results, and the requests of finished jobs", () =>
      Effect.gen(function* () {
        const queue = yield* LocalQueue;
        const ids: Array<string> = [];
        for (let index = 0; index < 14; index += 1) {
          ids.push((yield* queue.submit(requestOf("x".repeat(10 * KIB)))).id);
          yield* carryOutWith(large);
        }
        const there = yield* Effect.filter(ids, (id) => Effect.isSuccess(queue.status(id)));
        assert.deepStrictEqual(there, ids.slice(-12));
        const gone = yield* Effect.flip(queue.status(ids[0] ?? ""));
        assert.include(gone.message, "128 MiB");
      }).pipe(Effect.provide(withQueue().layer.pipe(Layer.provide(limits)))),
    );

    it.effect("by removing failed jobs, which could be retried", () =>
      Effect.gen(function* () {
        const queue = yield* LocalQueue;
        const ids: Array<string> = [];
        for (let index = 0; index < 14; index += 1) {
          ids.push((yield* queue.submit(requestOf("x".repeat(100 * KIB)))).id);
          yield* runJob({ error: "no" });
        }
        assert.strictEqual((yield* queue.retry(ids[13] ?? "")).status, "IN_QUEUE");
        const there = yield* Effect.filter(ids, (id) => Effect.isSuccess(queue.status(id)));
        assert.deepStrictEqual(there, ids.slice(-12));
      }).pipe(Effect.provide(withQueue().layer.pipe(Layer.provide(limits)))),
    );

    it.effect("by the number of results", () =>
      Effect.gen(function* () {
        const queue = yield* LocalQueue;
        const first = yield* queue.submit(requestOf("a"));
        yield* runJob({ output: 1 });
        for (let index = 0; index < 1000; index += 1) {
          yield* queue.submit(requestOf("a"));
          yield* runJob({ output: 1 });
        }
        yield* Effect.flip(queue.status(first.id));
      }).pipe(Effect.provide(withQueue().layer)),
    );

    it.effect("by dropping unfetched values of a stream, with one warning", () => {
      const logs = keptLogs();
      return Effect.gen(function* () {
        const queue = yield* LocalQueue;
        const { id } = yield* queue.submit(requestOf("a"));
        yield* queue.forWorker.take(1, false);
        for (let index = 0; index < 30; index += 1) {
          yield* queue.forWorker.chunk(id, value, LIMIT);
        }
        // Each is about a megabyte, so that a request returns one value.
        for (let fetched = 0; fetched < 15; fetched += 1) {
          assert.lengthOf((yield* queue.stream(id, 0)).chunks, 1);
        }
        assert.isEmpty((yield* queue.stream(id, 0)).chunks);
        assert.lengthOf(logs.warnings(), 1);
        assert.include(logs.warnings()[0], id);
        yield* queue.forWorker.chunk(id, body({ output: "later" }), LIMIT);
        assert.deepInclude(streamed(yield* queue.stream(id, 0)), { stream: [{ output: "later" }] });
      }).pipe(Effect.provide(Layer.merge(withQueue().layer, logs.layer)));
    });

    it.effect(
      "by returning up to a thousand values of a stream per request, and the final status with the last ones",
      () =>
        Effect.gen(function* () {
          const queue = yield* LocalQueue;
          const { id } = yield* queue.submit(requestOf("a"));
          yield* queue.forWorker.take(1, false);
          for (let index = 0; index < 2500; index += 1) {
            yield* queue.forWorker.chunk(id, body({ output: index }), LIMIT);
          }
          yield* queue.forWorker.complete(id, body({ output: "done" }), true, LIMIT);
          const parts = yield* Effect.replicateEffect(queue.stream(id, 0), 3);
          assert.deepStrictEqual(
            parts.map(({ status, chunks }) => [status, chunks.length, chunks[0]?.toString()]),
            [
              ["IN_PROGRESS", 1000, '{"output":0}'],
              ["IN_PROGRESS", 1000, '{"output":1000}'],
              ["COMPLETED", 500, '{"output":2000}'],
            ],
          );
        }).pipe(Effect.provide(withQueue().layer)),
    );

    it.effect("by limiting the bytes of results that wait for webhooks without a response", () => {
      const logs = keptLogs();
      const { layer, posted } = withQueue(Array<number>(100).fill(500));
      return Effect.gen(function* () {
        const queue = yield* LocalQueue;
        for (let index = 0; index < 9; index += 1) {
          yield* queue.submit(requestOf("a", { webhook: "http://127.0.0.1:1/hook" }));
          yield* carryOutWith(large);
        }
        yield* Effect.yieldNow;
        assert.lengthOf(posted, 6);
        assert.lengthOf(logs.warnings(), 3);
        // Each is tried three times, and then releases its memory.
        yield* TestClock.adjust("1 minute");
        assert.lengthOf(posted, 18);
        yield* queue.submit(requestOf("a", { webhook: "http://127.0.0.1:1/hook" }));
        yield* carryOutWith(large);
        yield* Effect.yieldNow;
        assert.lengthOf(posted, 19);
      }).pipe(Effect.provide(Layer.merge(Layer.provide(layer, limits), logs.layer)));
    });

    it.effect("by the budget for requests, which retries also use and finished jobs release", () =>
      Effect.gen(function* () {
        const queue = yield* LocalQueue;
        const budget = yield* RequestBudget;
        const { id } = yield* queue.submit(requestOf("a"));
        yield* runJob({ error: "no" });
        assert.isTrue(yield* budget.reserve(100));
        assert.strictEqual((yield* Effect.flip(queue.retry(id)))._tag, "QueueFull");
        yield* budget.release(100);
        yield* queue.retry(id);
        assert.isFalse(yield* budget.reserve(100));
        yield* queue.cancel(id);
        assert.isTrue(yield* budget.reserve(100));
      }).pipe(
        Effect.provide(withQueue().layer),
        Effect.provideService(RequestBudget, makeRequestBudget(100)),
      ),
    );
  });

  describe("finishes each job once, notifies waiting clients and releases its memory despite an interruption", () => {
    it.effect.each<readonly [string, Act, Act, Act]>([
      ["of a cancellation", nothing, cancel, nothing],
      ["of a purge", nothing, ({ purge }) => purge, nothing],
      [
        "of a retry",
        (queue, id) =>
          Effect.andThen(
            take(queue, id),
            queue.forWorker.complete(id, body({ error: "no" }), false, LIMIT),
          ),
        ({ retry }, id) => retry(id),
        nothing,
      ],
      [
        "of a result",
        take,
        ({ forWorker }, id) => forWorker.complete(id, body({ output: 1 }), false, LIMIT),
        cancel,
      ],
    ])("%s", ([, before, act, after]) =>
      interruptedAtEveryStep((interrupted, about) => {
        const budget = makeRequestBudget(300);
        return Effect.gen(function* () {
          const queue = yield* LocalQueue;
          const ids: Array<string> = [];
          for (const input of ["a", "b", "c"]) {
            yield* budget.reserve(100);
            const reserved = { bytes: body({ input }), release: budget.release(100) };
            ids.push((yield* queue.submit({ input }, reserved)).id);
          }
          const [first = ""] = ids;
          const waiting = yield* Effect.forEach(ids, (id) =>
            Effect.forkChild(queue.wait(id, 60_000)),
          );
          yield* before(queue, first);
          yield* interrupted(act(queue, first));
          yield* queue.purge;
          yield* after(queue, first);
          yield* turns(1);
          for (const fiber of waiting) assert.isDefined(fiber.pollUnsafe(), about);
          assert.isTrue(yield* budget.reserve(300), about);
          assert.isFalse(yield* budget.reserve(1), about);
        }).pipe(
          Effect.provide(withQueue([], slowStore).layer),
          Effect.provideService(RequestBudget, budget),
        );
      }),
    );
  });

  it.effect("passes on any result unchanged", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      const { id } = yield* queue.submit(requestOf("a"));
      yield* queue.forWorker.take(1, false);
      const output = '{"status": "FAILED", "error": 1.50, "a": [1e400, "\\"}", {"output": []}]}';
      const result = Buffer.from(`{"stopPod":true,"output":${output}}`);
      yield* queue.forWorker.complete(id, result, false, LIMIT);
      const text = Buffer.from((yield* queue.status(id)).toJson()).toString();
      assert.include(text, `"retries":0,"output":${output}}`);
      assert.deepInclude(JSON.parse(text), { id, status: "COMPLETED" });
      assert.notInclude(text, "stopPod");
    }).pipe(Effect.provide(withQueue().layer)),
  );

  it.effect("neither parses nor encodes a large result, which would block the event loop", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      const { id } = yield* queue.submit(requestOf("a"));
      const result = body({ output: Array.from({ length: 100_000 }, Math.sqrt) });
      const parse = vi.spyOn(JSON, "parse");
      const stringify = vi.spyOn(JSON, "stringify");
      yield* carryOutWith(result);
      const text = (yield* queue.status(id)).toJson();
      const sizes = [
        ...parse.mock.calls.map(([read]) => read.length),
        ...stringify.mock.results.map(({ value }) => String(value).length),
      ];
      parse.mockRestore();
      stringify.mockRestore();
      assert.isAbove(text.length, result.length);
      assert.isBelow(Math.max(...sizes), 1000);
    }).pipe(Effect.provide(withQueue().layer)),
  );

  it.effect("rejects an invalid result", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      const { id } = yield* queue.submit(requestOf("a"));
      yield* queue.forWorker.take(1, false);
      for (const text of ["", "1", "[]", "{}", '{"stopPod":true}', "<html>"]) {
        const refused = queue.forWorker.complete(id, Buffer.from(text), false, LIMIT);
        assert.strictEqual((yield* Effect.flip(refused))._tag, "PostFailed", text);
      }
      assert.strictEqual((yield* queue.status(id)).status, "IN_PROGRESS");
    }).pipe(Effect.provide(withQueue().layer)),
  );

  it.effect("finds no job with the name of a property of every object", () =>
    Effect.gen(function* () {
      const queue = yield* LocalQueue;
      for (const id of ["constructor", "__proto__", "toString", "hasOwnProperty", ""]) {
        assert.strictEqual((yield* Effect.flip(queue.status(id)))._tag, "JobNotFound");
        assert.strictEqual((yield* Effect.flip(queue.cancel(id)))._tag, "JobNotFound");
      }
    }).pipe(Effect.provide(withQueue().layer)),
  );
});
