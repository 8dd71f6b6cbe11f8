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

describe.concurrent("the values of a generator", () => {
  it.live("are sent in order and before the result, with retries", () =>
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

  it.live("are dropped when they are too large, and the log counts them", () =>
    Effect.gen(function* () {
      const { service, logs } = yield* startWorker(yielding(["a", "x".repeat(1_100_000), "c"]));
      const id = service.submit(1);
      yield* service.result(id);
      assert.deepStrictEqual(service.chunks(id), ["a", "c"].map(chunk));
      assert.include(logs.warnings().join("\n"), "1 of 3 values");
    }).pipe(Effect.scoped),
  );

  it.live("do not keep the slot of their job while RunPod is slow", () =>
    Effect.gen(function* () {
      const { service } = yield* startWorker(yielding(["a", "b"]), {}, ({ faults }) =>
        faults("stream", () => ({ kind: "hang" })),
      );
      service.submit(1);
      // The handler has finished and its slot is free, though no value was sent.
      const next = service.submit(2);
      yield* service.seen("stream", 2);
      yield* eventually(() => service.pings.at(-1)?.ids.includes(next) === true);
      assert.isEmpty(service.results);
    }).pipe(Effect.scoped),
  );

  it.live("wait up to 16 MB in all while RunPod is slow; the others are dropped", () => {
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

  it.effect("are dropped after a timeout when RunPod accepts none", () => {
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
  });
});
