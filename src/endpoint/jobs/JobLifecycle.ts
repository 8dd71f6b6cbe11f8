import { Clock, Effect, Queue } from "effect";

import type { JobStatus } from "../../domain/EndpointJob.ts";
import { JobStore } from "../store/JobStore.ts";
import { type JobEntry, releaseRequest, storedJobOf } from "./JobEntry.ts";
import { FinishedBytes, JobTable } from "./JobTable.ts";
import { makeWebhooks } from "./JobWebhook.ts";
import { LocalJob, SentResult } from "./LocalJob.ts";
import { makeTimeLimits } from "./TimeLimits.ts";

/** The most stop requests that wait for the worker. */
const MAX_STOPS = 1000;

/** The jobs of a queue, and what both of its sides, clients and the worker, do with them. */
export const makeJobLifecycle = Effect.gen(function* () {
  const store = yield* JobStore;
  const clock = yield* Clock.Clock;
  const callWebhook = yield* makeWebhooks;
  const workerId = `local-${process.pid}`;
  const limits = yield* makeTimeLimits;
  const table = new JobTable(yield* FinishedBytes);
  const stops = yield* Queue.sliding<string>(MAX_STOPS);
  const now = () => clock.currentTimeMillisUnsafe();

  const viewOf = (entry: JobEntry): LocalJob => {
    const { id, status, submitted, started, ended, retries, result } = entry;
    const delayTime = (started ?? ended ?? now()) - submitted;
    const executionTime = started === undefined ? 0 : (ended ?? now()) - started;
    return new LocalJob({ id, status, delayTime, executionTime, workerId, retries }, result);
  };

  const forget = (entry: JobEntry) =>
    Effect.suspend(() => {
      table.forget(entry);
      return limits.stop(entry);
    }).pipe(Effect.andThen(releaseRequest(entry)), Effect.andThen(store.remove(entry.id)));

  const forgetExcess = Effect.gen(function* () {
    for (;;) {
      const oldest = table.oldestExcess();
      if (oldest === undefined) return;
      yield* forget(oldest);
    }
  });

  /** Ends a job that is not in the queue. Uninterruptible: a client may hang up half-way. */
  const finish = Effect.fnUntraced(function* (
    entry: JobEntry,
    status: JobStatus,
    result: SentResult | undefined,
  ) {
    table.finish(entry, status, result, now());
    limits.start(entry);
    yield* releaseRequest(entry);
    yield* store.update(storedJobOf(entry));
    entry.changes.notify();
    if (entry.webhook !== undefined) yield* callWebhook(entry.webhook, viewOf(entry));
    yield* forgetExcess;
  }, Effect.uninterruptible);

  /** Ends a job that waits or runs; the worker stops it if it runs. */
  const end = Effect.fnUntraced(function* (entry: JobEntry, status: JobStatus, error?: string) {
    if (!table.removeQueued(entry)) yield* Queue.offer(stops, entry.id);
    yield* finish(entry, status, error === undefined ? undefined : SentResult.ofError(error));
  }, Effect.uninterruptible);

  return { table, stops, limits, store, workerId, now, viewOf, forgetExcess, finish, end, forget };
});

export type JobLifecycle = Effect.Success<typeof makeJobLifecycle>;
