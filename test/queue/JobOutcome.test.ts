import { assert, describe, it } from "@effect/vitest";
import { Cause, Effect, Exit, Layer } from "effect";

import { makeJobOutcome } from "../../src/queue/JobOutcome.ts";
import { JobQueue } from "../../src/queue/JobQueue.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { fakeJobQueue } from "../support/fakes/FakeJobQueue.ts";

const layer = (rerunsUnfinished: boolean) =>
  Layer.merge(
    Layer.succeed(JobQueue, fakeJobQueue({ rerunsUnfinished })),
    Environment.layerOf({ WORKER_SHUTDOWN_GRACE: "7", A_TOKEN: "a-secret-0123456789" }),
  );

const interrupted = Exit.failCause(Cause.interrupt());

describe("the outcome of a job", () => {
  it.effect("is a result for a value, for an error and for a job that is stopped by shutdown", () =>
    Effect.gen(function* () {
      const outcomeOf = yield* makeJobOutcome;
      const textOf = (...given: Parameters<typeof outcomeOf>) => {
        const outcome = outcomeOf(...given);
        return outcome._tag === "Ended" ? Buffer.from(outcome.body).toString() : outcome._tag;
      };
      assert.strictEqual(textOf(Exit.succeed(1), undefined), '{"output":1}');
      assert.strictEqual(
        textOf(Exit.die(new TypeError("a-secret-0123456789")), undefined),
        '{"error":"TypeError: ***"}',
      );
      assert.include(textOf(interrupted, "shut down"), "WORKER_SHUTDOWN_GRACE (7 seconds)");
      assert.include(textOf(interrupted, undefined), "The worker stopped before the job finished");
      // Its code finished just before it was stopped.
      assert.strictEqual(textOf(Exit.succeed(1), "stopped by RunPod"), '{"output":1}');
    }).pipe(Effect.provide(layer(false))),
  );

  it.effect("has no result for a job that RunPod stopped", () =>
    Effect.gen(function* () {
      const outcomeOf = yield* makeJobOutcome;
      assert.strictEqual(outcomeOf(interrupted, "stopped by RunPod")._tag, "Stopped");
    }).pipe(Effect.provide(layer(true))),
  );

  it.effect("is a rerun if the queue runs unfinished jobs again, unless the job was stopped", () =>
    Effect.gen(function* () {
      const outcomeOf = yield* makeJobOutcome;
      assert.strictEqual(outcomeOf(interrupted, undefined)._tag, "Requeued");
      assert.strictEqual(outcomeOf(interrupted, "shut down")._tag, "Ended");
      assert.strictEqual(outcomeOf(Exit.fail("no"), undefined)._tag, "Ended");
    }).pipe(Effect.provide(layer(true))),
  );
});
