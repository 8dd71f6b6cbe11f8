import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { eventually } from "../../support/effects/Waiting.ts";
import { startWorker, echo } from "../../support/fakes/RunningQueueWorker.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";

describe.concurrent("a result", () => {
  it.live.each([500, 502, 429, 408])("is sent again unchanged after status %i", (status) =>
    Effect.gen(function* () {
      const { service } = yield* startWorker(echo, {}, ({ faults }) =>
        faults("done", (number) => (number < 2 ? { kind: "status", status } : undefined)),
      );
      const id = service.submit({ a: 1 });
      assert.deepStrictEqual((yield* service.result(id)).body, { output: { a: 1 } });
    }).pipe(Effect.scoped),
  );

  it.live("is sent again after a connection reset and a timeout, while other jobs run", () =>
    Effect.gen(function* () {
      const { service } = yield* startWorker(echo, {}, ({ faults }) =>
        faults("done", (number) =>
          number === 0 ? { kind: "reset" } : number === 1 ? { kind: "hang" } : undefined,
        ),
      );
      const ids = [1, 2, 3].map((input) => service.submit(input));
      yield* Effect.forEach(ids, service.result);
      assert.lengthOf(service.results, 3);
    }).pipe(Effect.scoped),
  );

  it.live.each([400, 413])("is replaced by an error with its size after status %i", (status) =>
    Effect.gen(function* () {
      const { service, logs } = yield* startWorker(
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

  it.live.each([401, 403, 404])(
    "is not sent again after status %i, and its loss is logged",
    (status) =>
      Effect.gen(function* () {
        const { service, logs } = yield* startWorker(echo, {}, ({ faults }) =>
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

  it.live("is replaced by an error when it can't be encoded as JSON", () =>
    Effect.gen(function* () {
      const { service } = yield* startWorker(() => Effect.succeed({ big: 1n }));
      const { body } = yield* service.result(service.submit(1));
      assert.include(String(body["error"]), "can't be encoded as JSON");
    }).pipe(Effect.scoped),
  );
});

describe.concurrent("undelivered results", () => {
  it.live("are stored with WORKER_RESULT_STORE, and delivered by the next worker", () =>
    Effect.gen(function* () {
      const store = join(yield* temporaryFolder, "results");
      const variables = { WORKER_RESULT_STORE: store, WORKER_RESULT_RETRY: "0.3" };
      yield* Effect.gen(function* () {
        const { service } = yield* startWorker(echo, { variables }, ({ faults }) =>
          faults("done", () => ({ kind: "status", status: 503 })),
        );
        service.submit({ secret: "value" }, "kept-1");
        yield* eventually(() => {
          try {
            return readdirSync(store).some((name) => name.endsWith(".result"));
          } catch {
            return false;
          }
        });
      }).pipe(Effect.scoped);
      const [name = ""] = readdirSync(store);
      assert.strictEqual(statSync(join(store, name)).mode & 0o777, 0o600);
      assert.strictEqual(statSync(store).mode & 0o777, 0o700);
      assert.include(readFileSync(join(store, name), "utf8"), "secret");

      const { service } = yield* startWorker(echo, { variables });
      const { body } = yield* service.result("kept-1");
      assert.deepStrictEqual(body, { output: { secret: "value" } });
      assert.isEmpty(readdirSync(store));
    }).pipe(Effect.scoped),
  );

  it.live("are stored when their worker ends during the delivery", () =>
    Effect.gen(function* () {
      const store = yield* temporaryFolder;
      yield* Effect.gen(function* () {
        const { service } = yield* startWorker(
          echo,
          { variables: { WORKER_RESULT_STORE: store } },
          ({ faults }) => faults("done", () => ({ kind: "hang" })),
        );
        service.submit(1);
        yield* service.seen("done", 1);
      }).pipe(Effect.scoped);
      assert.lengthOf(readdirSync(store), 1);
    }).pipe(Effect.scoped),
  );

  it.live("are lost without WORKER_RESULT_STORE, and the log has the job's id and the size", () =>
    Effect.gen(function* () {
      const { service, logs } = yield* startWorker(
        echo,
        { variables: { WORKER_RESULT_RETRY: "0.3" } },
        ({ faults }) => faults("done", () => ({ kind: "status", status: 503 })),
      );
      service.submit("x", "lost-1");
      yield* eventually(() => logs.errors().length > 0);
      assert.match(logs.errors().join("\n"), /job lost-1 \(14 bytes\) is lost: .*0\.3 seconds/);
    }).pipe(Effect.scoped),
  );
});
