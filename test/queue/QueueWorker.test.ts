import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Fiber, Schema, Stream } from "effect";

import { JobListener, listenerOf } from "../../src/domain/JobEvents.ts";
import { QueueWorker } from "../../src/queue/QueueWorker.ts";
import { eventually } from "../support/effects/Waiting.ts";
import { inMemoryWorker } from "../support/fakes/InMemoryQueueWorker.ts";
import { startWorker, echo } from "../support/fakes/RunningQueueWorker.ts";

class OddInput extends Schema.TaggedError<OddInput>()("OddInput", { input: Schema.String }) {
  override get message(): string {
    return `${this.input} is odd`;
  }
}

describe.concurrent("QueueWorker", () => {
  it.live("takes jobs, runs the handler and sends the results", () =>
    Effect.gen(function* () {
      const { service } = yield* startWorker(echo);
      const ids = [1, "two", [3], { four: 4 }, false, 0].map((input) => service.submit(input));
      const posted = yield* Effect.forEach(ids, service.result);
      assert.deepStrictEqual(
        posted.map(({ body }) => body["output"]),
        [1, "two", [3], { four: 4 }, false, 0],
      );
      const [first] = posted;
      assert.strictEqual(first?.isStream, "false");
      assert.deepInclude(first?.headers, {
        authorization: "key-of-the-worker-itself",
        "content-type": "application/x-www-form-urlencoded",
        charset: "utf-8",
        "x-request-id": "job-1",
      });
      const take = service.requests.find(({ route }) => route === "take");
      assert.strictEqual(take?.url.pathname, "/job-take/pod-1");
      assert.strictEqual(take?.url.search, "?gpu=test&job_in_progress=0");
    }).pipe(Effect.scoped),
  );

  it.live("sends errors in the top-level error field", () =>
    Effect.gen(function* () {
      const { service } = yield* startWorker(({ input }) =>
        input === "throws"
          ? Effect.fail(new OddInput({ input: String(input) }))
          : Effect.succeed({ success: false, error: "it broke", stdout: "…" }),
      );
      const returned = yield* service.result(service.submit("returns"));
      assert.deepStrictEqual(returned.body, {
        output: { success: false, stdout: "…" },
        error: "it broke",
      });
      const thrown = yield* service.result(service.submit("throws"));
      assert.deepStrictEqual(thrown.body, { error: "OddInput: throws is odd" });
    }).pipe(Effect.scoped),
  );

  it.live("sends the values of a handler's stream in order, and all of them in the result", () =>
    Effect.gen(function* () {
      const { service } = yield* startWorker(() => Stream.make(1, 2, 3));
      const id = service.submit("go");
      const { body, isStream } = yield* service.result(id);
      assert.deepStrictEqual(service.chunks(id), [1, 2, 3]);
      assert.deepStrictEqual([body["output"], isStream], [[1, 2, 3], "true"]);
    }).pipe(Effect.scoped),
  );

  it.live(
    "runs up to WORKER_CONCURRENCY jobs at once, and takes as many as there are free slots",
    () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>();
        let running = 0;
        let most = 0;
        const { service } = yield* startWorker(
          () =>
            Effect.gen(function* () {
              running += 1;
              most = Math.max(most, running);
              yield* Deferred.await(gate);
              running -= 1;
            }),
          { variables: { WORKER_CONCURRENCY: "3" } },
        );
        const ids = [1, 2, 3, 4, 5].map((input) => service.submit(input));
        yield* eventually(() => running === 3);
        const take = service.requests.find(({ route }) => route === "take");
        assert.strictEqual(take?.url.pathname, "/job-take-batch/pod-1");
        assert.strictEqual(take?.url.searchParams.get("batch_size"), "3");
        yield* Deferred.succeed(gate, undefined);
        yield* Effect.forEach(ids, service.result);
        assert.strictEqual(most, 3);
      }).pipe(Effect.scoped),
  );

  it.live("takes further jobs when its concurrency is raised while a job runs", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>();
      let running = 0;
      const { service, setConcurrency } = yield* startWorker(() =>
        Effect.gen(function* () {
          running += 1;
          yield* Deferred.await(gate);
        }),
      );
      const ids = [1, 2, 3, 4].map((input) => service.submit(input));
      yield* eventually(() => running === 1);
      yield* setConcurrency(3);
      yield* eventually(() => running === 3);
      const takes = service.requests.filter(({ route }) => route === "take");
      assert.strictEqual(takes.at(-1)?.url.searchParams.get("batch_size"), "2");
      yield* Deferred.succeed(gate, undefined);
      yield* Effect.forEach(ids, service.result);
    }).pipe(Effect.scoped),
  );

  it.live("stops only the job that RunPod stops, and sends no result for it", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>();
      const ended: Array<string> = [];
      const { service } = yield* startWorker(
        ({ id }) =>
          Deferred.await(gate).pipe(Effect.onInterrupt(() => Effect.sync(() => ended.push(id)))),
        { variables: { WORKER_CONCURRENCY: "2" } },
      );
      const [one, other] = [service.submit(1), service.submit(2)];
      yield* eventually(() => service.pings.at(-1)?.ids.length === 2);
      service.stop(one);
      yield* eventually(() => ended.length === 1);
      // Its slot is free.
      const third = service.submit(3);
      yield* eventually(() => service.pings.at(-1)?.ids.join() === [other, third].join());
      yield* Deferred.succeed(gate, undefined);
      yield* Effect.forEach([other, third], service.result);
      assert.deepStrictEqual(ended, [one]);
      assert.notInclude(
        service.results.map(({ id }) => id),
        one,
      );
    }).pipe(Effect.scoped),
  );

  it.live("runs a job again that is delivered again while its stopped run is ending", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>();
      let starts = 0;
      const { service } = yield* startWorker(
        () =>
          Effect.suspend(() => {
            starts += 1;
            return starts === 1
              ? Effect.onInterrupt(Effect.never, () => Deferred.await(gate))
              : Effect.succeed("second");
          }),
        { variables: { WORKER_CONCURRENCY: "3" } },
      );
      const id = service.submit(1);
      yield* eventually(() => starts === 1);
      service.stop(id);
      yield* service.seen("stop", 2);
      service.submit(1, id);
      // It was taken before the third take.
      yield* service.seen("take", 3);
      yield* Deferred.succeed(gate, undefined);
      assert.deepStrictEqual((yield* service.result(id)).body, { output: "second" });
    }).pipe(Effect.scoped),
  );

  it.live(
    "finishes running jobs when it drains, takes no new ones, and continues its heartbeat",
    () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>();
        const { service, drain, ended } = yield* startWorker(() => Deferred.await(gate), {
          variables: { WORKER_CONCURRENCY: "2", RUNPOD_PING_INTERVAL: "50" },
        });
        const id = service.submit(1);
        yield* eventually(() => service.pings.at(-1)?.ids.length === 1);
        yield* drain;
        const [takes, pings] = [
          service.requests.filter(({ route }) => route === "take").length,
          service.pings.length,
        ];
        yield* eventually(() => service.pings.length > pings + 3);
        const late = service.submit(2);
        assert.deepStrictEqual(service.pings.at(-1)?.ids, [id]);
        yield* Deferred.succeed(gate, undefined);
        yield* ended;
        assert.deepStrictEqual(
          service.results.map((one) => one.id),
          [id],
        );
        assert.strictEqual(service.requests.filter(({ route }) => route === "take").length, takes);
        assert.notInclude(
          service.results.map((one) => one.id),
          late,
        );
      }).pipe(Effect.scoped),
  );

  it.live("ends within a second when it drains during a poll", () =>
    Effect.gen(function* () {
      const { service, drain, ended } = yield* startWorker(echo, { hold: 60_000 });
      yield* service.seen("take", 1);
      yield* service.seen("stop", 1);
      yield* drain;
      yield* Effect.timeout(ended, "1 second");
    }).pipe(Effect.scoped),
  );

  it.live(
    "stops jobs that do not finish within WORKER_SHUTDOWN_GRACE, and reports it in their results",
    () =>
      Effect.gen(function* () {
        const { service, drain, ended } = yield* startWorker(() => Effect.never, {
          variables: { WORKER_SHUTDOWN_GRACE: "0.2" },
        });
        const id = service.submit(1);
        yield* eventually(() => service.pings.at(-1)?.ids.length === 1);
        yield* drain;
        yield* ended;
        const { body } = yield* service.result(id);
        assert.include(String(body["error"]), "WORKER_SHUTDOWN_GRACE (0.2 seconds)");
      }).pipe(Effect.scoped),
  );

  it.live(
    "ignores a duplicate delivery of a running job, and runs the job again after its result is delivered",
    () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>();
        let runs = 0;
        const { service, logs } = yield* startWorker(
          () => {
            runs += 1;
            return Deferred.await(gate);
          },
          { variables: { WORKER_CONCURRENCY: "2" } },
        );
        service.submit(1, "same");
        yield* eventually(() => runs === 1);
        service.submit(1, "same");
        yield* eventually(() => logs.warnings().some((line) => line.includes("same")));
        assert.strictEqual(runs, 1);
        yield* Deferred.succeed(gate, undefined);
        yield* service.result("same");
        yield* eventually(() => service.pings.at(-1)?.ids.length === 0);
        service.submit(1, "same");
        yield* eventually(() => service.results.length === 2);
        assert.strictEqual(runs, 2);
      }).pipe(Effect.scoped),
  );

  it.live("requests a fresh container after one job with WORKER_REFRESH", () =>
    Effect.gen(function* () {
      const { service, ended } = yield* startWorker(echo, {
        variables: { WORKER_REFRESH: "true" },
      });
      const id = service.submit("x");
      yield* ended;
      assert.deepStrictEqual((yield* service.result(id)).body, { output: "x", stopPod: true });
    }).pipe(Effect.scoped),
  );

  it.live("requests a fresh container when a handler returns refresh_worker", () =>
    Effect.gen(function* () {
      const { service } = yield* startWorker(() => Effect.succeed({ a: 1, refresh_worker: true }));
      const { body } = yield* service.result(service.submit("x"));
      assert.deepStrictEqual(body, { output: { a: 1 }, stopPod: true });
    }).pipe(Effect.scoped),
  );

  it.live("masks secrets in a handler's error, and logs only its first line", () =>
    Effect.gen(function* () {
      const secret = "a-secret-of-this-worker-0123456789";
      const { service, logs } = yield* startWorker(
        () => Effect.fail(new OddInput({ input: `${secret}\nand more` })),
        { variables: { THIRD_PARTY_TOKEN: secret } },
      );
      const { body } = yield* service.result(service.submit(1));
      assert.include(String(body["error"]), "OddInput: ***");
      const failed = logs.warnings().filter((line) => line.startsWith("Job failed"));
      assert.match(failed.join("|"), /^Job failed after .* s: OddInput: \*\*\*$/);
    }).pipe(Effect.scoped),
  );

  it.effect("passes all events of a job to the listener of its caller", () =>
    Effect.gen(function* () {
      const received: Array<string> = [];
      const done = yield* Deferred.make<void>();
      let isGiven = false;
      const layer = inMemoryWorker({
        take: () =>
          Effect.suspend(() => {
            if (isGiven) return Effect.interruptible(Effect.never);
            isGiven = true;
            return Effect.succeed({ jobs: [{ id: "job-1" }], invalid: [] });
          }),
        complete: () => Deferred.succeed(done, undefined),
      });
      const handler = Effect.fnUntraced(function* () {
        const events = yield* JobListener;
        events.notify({ _tag: "StageStarted", stage: "running" });
        events.notify({ _tag: "OutputWritten", lines: "a line\n" });
        events.notify({ _tag: "GpuLost" });
        events.notify({ _tag: "Ended", end: "cuda", reason: "CUDA error" });
      });
      yield* Effect.gen(function* () {
        const worker = yield* QueueWorker;
        const fiber = yield* Effect.forkChild(worker.run(() => handler()));
        yield* Deferred.await(done);
        yield* worker.drain;
        yield* Fiber.join(fiber);
      }).pipe(
        Effect.provideService(
          JobListener,
          listenerOf({
            StageStarted: ({ stage }) => received.push(stage),
            OutputWritten: ({ lines }) => received.push(lines),
            GpuLost: () => received.push("GPU lost"),
            Ended: ({ end }) => received.push(end),
          }),
        ),
        Effect.provide(layer),
      );
      assert.deepStrictEqual(received, ["running", "a line\n", "GPU lost", "cuda"]);
    }),
  );
});
