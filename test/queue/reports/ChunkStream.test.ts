import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect } from "effect";

import { EncodedResponse } from "../../../src/domain/EncodedResponse.ts";
import { success } from "../../../src/domain/FunctionResponse.ts";
import { JobListener } from "../../../src/domain/JobEvents.ts";
import type { Handler } from "../../../src/queue/Handler.ts";
import { chunkStream } from "../../../src/queue/reports/ChunkStream.ts";
import { eventually, advanceUntilDone } from "../../support/effects/Waiting.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { fakeJobQueue } from "../../support/fakes/FakeJobQueue.ts";
import { startWorker } from "../../support/fakes/RunningQueueWorker.ts";

const chunk = (value: string) => success({ json_result: value });

/** A handler that yields these values and returns them. */
const yielding =
  (values: ReadonlyArray<string>): Handler =>
  () =>
    Effect.gen(function* () {
      const events = yield* JobListener;
      for (const value of values)
        events.notify({ _tag: "ValueYielded", value: EncodedResponse.of(chunk(value)) });
      return success({ json_result: [...values] });
    });

describe.concurrent("values that a job tells of are streamed", () => {
  it.live("in order, before the result, also when some have to be sent again", () =>
    Effect.gen(function* () {
      const { service } = yield* startWorker(yielding(["a", "b", "c"]), {}, ({ faults }) =>
        faults("stream", (number) => (number === 1 ? { kind: "status", status: 503 } : undefined)),
      );
      const id = service.submit(1);
      const { isStream, body } = yield* service.result(id);
      assert.deepStrictEqual(service.chunks(id), ["a", "b", "c"].map(chunk));
      assert.strictEqual(isStream, "true");
      const { error: _, ...rest } = success({ json_result: ["a", "b", "c"] });
      assert.deepStrictEqual(body, { output: rest });
    }).pipe(Effect.scoped),
  );

  it.live("but not those that are too large, which the log counts", () =>
    Effect.gen(function* () {
      const { service, logs } = yield* startWorker(yielding(["a", "x".repeat(1_100_000), "c"]));
      const id = service.submit(1);
      yield* service.result(id);
      assert.deepStrictEqual(service.chunks(id), ["a", "c"].map(chunk));
      assert.include(logs.warnings().join("\n"), "1 of 3 values");
    }).pipe(Effect.scoped),
  );

  it.live("and never waits for a service that is slow", () =>
    Effect.gen(function* () {
      const { service } = yield* startWorker(yielding(["a", "b"]), {}, ({ faults }) =>
        faults("stream", () => ({ kind: "hang" })),
      );
      service.submit(1);
      // The handler is done and its slot free, though no value has left.
      const next = service.submit(2);
      yield* service.seen("stream", 2);
      yield* eventually(() => service.pings.at(-1)?.ids.includes(next) === true);
      assert.isEmpty(service.results);
    }).pipe(Effect.scoped),
  );

  it.live("and no more of them than 16 MB wait for a service that is slow", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      const gate = yield* Deferred.make<void>();
      let sent = 0;
      const { offer, end } = yield* chunkStream(
        fakeJobQueue({
          chunk: () => Effect.map(Deferred.await(gate), () => void (sent += 1)),
        }),
        "job-1",
      );
      for (let number = 0; number < 30; number += 1) offer("x".repeat(900_000));
      yield* Deferred.succeed(gate, undefined);
      yield* end;
      assert.strictEqual(sent, 18);
      assert.match(logs.warnings().join(), /^12 of 30 values .* RunPod was too slow/);
    }).pipe(Effect.scoped, Effect.provide(logs.layer));
  });

  it.effect(
    "and does not wait for ever for a service that takes none, nor keeps too many for it",
    () => {
      const logs = keptLogs();
      return Effect.gen(function* () {
        const { offer, end } = yield* chunkStream(
          fakeJobQueue({ chunk: () => Effect.never }),
          "job-1",
        );
        const value = "x".repeat(900_000);
        for (let number = 0; number < 30; number += 1) offer(value);
        yield* advanceUntilDone(end);
        const [warning] = logs.warnings();
        assert.match(String(warning), /^\d+ of 30 values .* RunPod was too slow/);
      }).pipe(Effect.scoped, Effect.provide(logs.layer));
    },
  );
});
