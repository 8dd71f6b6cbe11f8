import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Option } from "effect";

import { ResultStore } from "../../src/runpod/ResultStore.ts";
import { Environment } from "../../src/settings/Environment.ts";

import { keptLogs } from "../support/Logs.ts";
import { atWork, echo, eventually } from "../support/WorkerAtWork.ts";

const GIBIBYTE = 1024 ** 3;

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

/** Puts two results of so many bytes in all into a store. Sparse: they have this size and take no space. */
const plant = (bytes: number) => (where: string) => {
  for (const name of ["one.result", "two.result"]) {
    writeFileSync(join(where, name), "");
    truncateSync(join(where, name), bytes / 2);
  }
};

describe("a folder of results that others can write to", () => {
  const result = { jobId: "job-1", isStream: false, body: Buffer.from('{"output":1}') };

  const keepOne = (store: ResultStore["Service"]) => store.keep(result);

  /** Does something with a store whose folder is prepared, and says whether a file outside stayed as it was. */
  const inStore = Effect.fnUntraced(function* <A, E>(
    plant: (store: string, outside: string) => void,
    use: (store: ResultStore["Service"], where: string) => Effect.Effect<A, E>,
  ) {
    const root = yield* folder;
    const where = join(root, "store");
    const outside = join(root, "outside");
    mkdirSync(where);
    writeFileSync(outside, '{"jobId":"foreign","isStream":false}\nprecious');
    plant(where, outside);
    const store = yield* Effect.provide(
      ResultStore,
      ResultStore.layer.pipe(
        Layer.provide([NodeServices.layer, Environment.layerOf({ WORKER_RESULT_STORE: where })]),
      ),
    );
    const value = yield* use(store, where);
    assert.match(readFileSync(outside, "utf8"), /precious$/);
    return value;
  });

  it.live("is written to without following what is planted there", () =>
    Effect.gen(function* () {
      const name = `${createHash("sha256").update("job-1").digest("hex")}.result`;
      const isKept = yield* inStore(
        (where, outside) => {
          symlinkSync(outside, join(where, `${name}.new`));
          symlinkSync(outside, join(where, name));
        },
        (store, where) =>
          Effect.tap(store.keep(result), () =>
            Effect.sync(() => assert.isTrue(lstatSync(join(where, name)).isFile())),
          ),
      );
      assert.isTrue(isKept);
    }).pipe(Effect.scoped),
  );

  it.live("gives only results that the worker put there", () =>
    Effect.gen(function* () {
      const kept = yield* inStore(
        (where, outside) => {
          symlinkSync(outside, join(where, "link.result"));
          writeFileSync(join(where, "other.result"), readFileSync(outside));
          mkdirSync(join(where, "folder.result"));
          execFileSync("mkfifo", [join(where, "pipe.result")]);
        },
        (store) =>
          Effect.andThen(
            store.keep(result),
            Effect.flatMap(store.kept, (loads) => Effect.all(loads)),
          ),
      );
      assert.deepStrictEqual(
        kept.flatMap(Option.toArray).map(({ jobId }) => jobId),
        ["job-1"],
      );
    }).pipe(Effect.scoped),
  );

  it.live("takes no more than 1 GB of results in all, and says so", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      const rest = 4096;
      assert.isTrue(yield* inStore(plant(GIBIBYTE - rest), keepOne));
      assert.isEmpty(logs.warnings());
      assert.isFalse(yield* inStore(plant(GIBIBYTE), keepOne));
      assert.match(logs.warnings().join(), /store is full: no more than 1 GB/);
    }).pipe(Effect.scoped, Effect.provide(logs.layer));
  });

  it.live("does not load a file that is larger than all results together may be", () =>
    Effect.gen(function* () {
      const kept = yield* inStore(
        () => {},
        (store, where) =>
          Effect.gen(function* () {
            assert.isTrue(yield* store.keep(result));
            const [name = ""] = readdirSync(where);
            truncateSync(join(where, name), GIBIBYTE + 1);
            return yield* Effect.flatMap(store.kept, (loads) => Effect.all(loads));
          }),
      );
      assert.isEmpty(kept.flatMap(Option.toArray));
    }).pipe(Effect.scoped),
  );
});
