import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { JobListener } from "../../../src/domain/JobEvents.ts";
import type { Handler } from "../../../src/queue/Handler.ts";
import { startWorker } from "../../support/fakes/RunningQueueWorker.ts";

/** A job that goes through its stages slowly. */
const slow: Handler = () =>
  Effect.gen(function* () {
    const events = yield* JobListener;
    events.notify({ _tag: "StageStarted", stage: "dependencies" });
    yield* Effect.sleep("1200 millis");
    events.notify({ _tag: "OutputWritten", lines: "one\ntwo\n" });
    events.notify({ _tag: "StageStarted", stage: "running" });
    yield* Effect.sleep("1200 millis");
    return "done";
  });

describe.concurrent("the progress of a job", () => {
  it.live.each([
    ["off", []],
    ["stages", [{ stage: "dependencies" }, { stage: "running" }]],
    [
      "output",
      [
        { stage: "dependencies", output: "" },
        { stage: "running", output: "one\ntwo\n" },
      ],
    ],
  ] as const)(
    "is reported as WORKER_PROGRESS=%s says, and never after the result",
    ([mode, expected]) =>
      Effect.gen(function* () {
        const { service } = yield* startWorker(slow, { variables: { WORKER_PROGRESS: mode } });
        const id = service.submit(1);
        yield* service.result(id);
        assert.deepStrictEqual(
          service.progress.map(({ body }) => body["output"]),
          [...expected],
        );
      }).pipe(Effect.scoped),
  );
});
