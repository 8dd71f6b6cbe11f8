import { Effect, Stream, SubscriptionRef } from "effect";

import { AppHandler } from "../../apps/AppHandler.ts";
import { AppStart } from "../../apps/AppStart.ts";
import { QueueWorker } from "../../queue/QueueWorker.ts";
import { takeJobsFor } from "./QueueMode.ts";
import { ensureAppStarts, ensureWorkspace } from "./Readiness.ts";

/** Runs as many jobs at the same time as the app says; one until that is known. */
export const followConcurrency = Effect.gen(function* () {
  const { state } = yield* AppStart;
  const { setConcurrency } = yield* QueueWorker;
  yield* Stream.runForEach(SubscriptionRef.changes(state), (current) =>
    setConcurrency(current._tag === "Ready" ? current.started.concurrency : 1),
  );
});

/** Takes jobs for a deployed app. */
export const takeAppJobs = Effect.fn("start.app")(function* (resource: string) {
  const { handle } = yield* AppHandler;
  const { ready } = yield* AppStart;
  const { setConcurrency } = yield* QueueWorker;
  yield* setConcurrency(1);
  yield* Effect.forkScoped(followConcurrency);
  // Started before the first poll, beside the checks of the machine.
  yield* Effect.forkScoped(Effect.ignore(ready));
  yield* takeJobsFor({
    title: `deployed app, resource ${resource}`,
    handler: (job) => handle(job),
    prepare: ensureWorkspace,
    warm: ensureAppStarts,
  });
}, Effect.scoped);
