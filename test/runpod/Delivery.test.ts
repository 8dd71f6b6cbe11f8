import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Fiber, Layer } from "effect";
import { NodeServices } from "@effect/platform-node";

import { Delivery } from "../../src/runpod/Delivery.ts";
import { JobQueue } from "../../src/runpod/JobQueue.ts";
import { ResultStore } from "../../src/runpod/ResultStore.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { fakeJobQueue } from "../support/FakeJobQueue.ts";
import { atWork, echo } from "../support/WorkerAtWork.ts";

describe.concurrent("a result is delivered", () => {
  it.live.each([500, 502, 429, 408])("again after status %i, the same bytes", (status) =>
    Effect.gen(function* () {
      const { service } = yield* atWork(echo, {}, ({ faults }) =>
        faults("done", (number) => (number < 2 ? { kind: "status", status } : undefined)),
      );
      const id = service.submit({ a: 1 });
      assert.deepStrictEqual((yield* service.result(id)).body, { output: { a: 1 } });
    }).pipe(Effect.scoped),
  );

  it.live("again after a reset and after no answer, while other jobs run", () =>
    Effect.gen(function* () {
      const { service } = yield* atWork(echo, {}, ({ faults }) =>
        faults("done", (number) =>
          number === 0 ? { kind: "reset" } : number === 1 ? { kind: "hang" } : undefined,
        ),
      );
      const ids = [1, 2, 3].map((input) => service.submit(input));
      yield* Effect.forEach(ids, service.result);
      assert.lengthOf(service.results, 3);
    }).pipe(Effect.scoped),
  );

  it.live.each([400, 413])("as an error that names its size after status %i", (status) =>
    Effect.gen(function* () {
      const { service, logs } = yield* atWork(
        () => Effect.succeed("x".repeat(2_000_000)),
        {},
        ({ faults }) =>
          faults("done", (number) => (number === 0 ? { kind: "status", status } : undefined)),
      );
      const { body } = yield* service.result(service.submit(1));
      assert.include(String(body["error"]), `HTTP ${status}`);
      assert.include(String(body["error"]), "2.0 MB");
      assert.isTrue(logs.errors().some((line) => line.includes("job-1")));
    }).pipe(Effect.scoped),
  );

  it.live.each([401, 403, 404])("not again after status %i, and logs the loss", (status) =>
    Effect.gen(function* () {
      const { service, logs } = yield* atWork(echo, {}, ({ faults }) =>
        faults("done", (number) => (number === 0 ? { kind: "status", status } : undefined)),
      );
      service.submit("lost", "lost-1");
      yield* service.result(service.submit("next"));
      const errors = logs.errors();
      assert.isTrue(
        errors.some((line) => /lost-1 \(17 bytes\) is lost/.test(line)),
        errors.join(),
      );
      assert.lengthOf(service.results, 1);
    }).pipe(Effect.scoped),
  );

  it.live("as an error when it can't be encoded", () =>
    Effect.gen(function* () {
      const { service } = yield* atWork(() => Effect.succeed({ big: 1n }));
      const { body } = yield* service.result(service.submit(1));
      assert.include(String(body["error"]), "can't be encoded as JSON");
    }).pipe(Effect.scoped),
  );

  it.effect("from a slot that is kept while there is no room for more results", () =>
    Effect.gen(function* () {
      const open = yield* Deferred.make<void>();
      const layer = Delivery.layerNoDeps.pipe(
        Layer.provide([
          Layer.succeed(JobQueue, fakeJobQueue({ complete: () => Deferred.await(open) })),
          ResultStore.layer,
        ]),
        Layer.provide([NodeServices.layer, Environment.layerOf({})]),
      );
      yield* Effect.gen(function* () {
        const { accept, idle } = yield* Delivery;
        const large = (jobId: string) =>
          accept(
            { jobId, body: new Uint8Array(200 * 1024 * 1024), isStream: false },
            Effect.void,
            Effect.void,
          );
        yield* large("one");
        const waiting = yield* Effect.forkChild(large("two"));
        yield* Effect.yieldNow;
        assert.isUndefined(waiting.pollUnsafe());
        yield* Deferred.succeed(open, undefined);
        yield* Fiber.join(waiting);
        yield* idle;
      }).pipe(Effect.provide(layer));
    }),
  );
});
