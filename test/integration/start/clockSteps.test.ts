import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { fakeRunPod } from "../../support/fakes/FakeRunPod.ts";
import { workerCommand, workerProcess } from "../../support/processes/WorkerProcess.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

/** Heartbeats, and how far apart they are: milliseconds. */
const BEATS = 10;
const INTERVAL = 300;

describe("setting the wall clock back by an hour", () => {
  it.live("affects neither the heartbeat's interval nor the logged duration of a job", () =>
    Effect.gen(function* () {
      const service = yield* fakeRunPod();
      const worker = yield* workerProcess(
        { ...service.variables, RUNPOD_PING_INTERVAL: String(INTERVAL) },
        ["start"],
        `exec ${workerCommand("--import", "./test/support/processes/stepClock.mjs")}`,
      );
      const beats = Effect.gen(function* () {
        const before = performance.now();
        yield* service.seen("ping", service.pings.length + BEATS);
        return performance.now() - before;
      });
      yield* service.seen("ping", 1);
      const usual = yield* beats;
      const id = service.submit(
        functionInput(
          "import time\ndef f():\n    print('begun', flush=True)\n    time.sleep(1)\n    return 1",
        ),
      );
      yield* worker.wrote("begun");
      yield* worker.signal("SIGUSR2");
      // Without a monotonic clock, every later interval would be twice as long.
      assert.isBelow(yield* beats, 1.7 * usual);
      yield* service.result(id);
      const [duration] = worker
        .logs()
        .flatMap(({ message }) => /^Job done in (-?[\d.]+) s$/.exec(message)?.[1] ?? [])
        .map(Number);
      assert.isAtLeast(duration ?? 0, 0.9);
      assert.isBelow(duration ?? 0, 600);
    }).pipe(Effect.scoped),
  );
});
