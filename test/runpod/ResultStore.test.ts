import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { atWork, echo, eventually } from "../support/WorkerAtWork.ts";

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "worker-tetra-results-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true })),
);

describe.concurrent("results that could not be delivered", () => {
  it.live("are kept where somebody wants that, and delivered by the next worker", () =>
    Effect.gen(function* () {
      const store = join(yield* folder, "results");
      const variables = { WORKER_RESULT_STORE: store, WORKER_RESULT_RETRY: "0.3" };
      yield* Effect.gen(function* () {
        const { service } = yield* atWork(echo, { variables }, ({ faults }) =>
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

      const { service } = yield* atWork(echo, { variables });
      const { body } = yield* service.result("kept-1");
      assert.deepStrictEqual(body, { output: { secret: "value" } });
      assert.isEmpty(readdirSync(store));
    }).pipe(Effect.scoped),
  );

  it.live("are kept too when their worker has to end", () =>
    Effect.gen(function* () {
      const store = yield* folder;
      yield* Effect.gen(function* () {
        const { service } = yield* atWork(
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

  it.live("are lost otherwise, which is said with the job's id and the size", () =>
    Effect.gen(function* () {
      const { service, logs } = yield* atWork(
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
