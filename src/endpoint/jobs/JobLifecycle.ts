import { Clock, Effect, Queue } from "effect";

import type { JobStatus } from "../../domain/EndpointJob.ts";
import { JobStore } from "../store/JobStore.ts";
import { type JobEntry, releaseRequest, storedJobOf } from "./JobEntry.ts";
import { FinishedBytes, JobTable } from "./JobTable.ts";
import { makeJobTimers } from "./JobTimers.ts";
import { makeWebhooks } from "./JobWebhook.ts";
import { LocalJob, SentResult } from "./LocalJob.ts";

/** The maximum number of stop requests that wait for the worker. */
const MAX_STOPS = 1000;

/** The jobs of a queue, and the operations that its clients and its worker share. */
export const makeJobLifecycle = Effect.gen(function* () {
  const store = yield* JobStore;
  const clock = yield* Clock.Clock;
  const callWebhook = yield* makeWebhooks;
  const workerId = `local-${process.pid}`;
  const timers = yield* makeJobTimers;
  const table = new JobTable(yield* FinishedBytes);
  const stops = yield* Queue.sliding<string>(MAX_STOPS);
  const now = () => clock.currentTimeMillisUnsafe();

  const viewOf = (entry: JobEntry): LocalJob => {
    const { id, status, submitted, started, ended, retries, result } = entry;
    const delayTime = (started ?? ended ?? now()) - submitted;
    const executionTime = started === undefined ? 0 : (ended ?? now()) - started;
    return new LocalJob({ id, status, delayTime, executionTime, workerId, retries }, result);
  };

  const remove = (entry: JobEntry) =>
    Effect.suspend(() => {
      table.remove(entry);
      return timers.stop(entry);
    }).pipe(Effect.andThen(releaseRequest(entry)), Effect.andThen(store.remove(entry.id)));

  const removeExcess = Effect.gen(function* () {
    for (;;) {
      const oldest = table.oldestExcess();
      if (oldest === undefined) return;
      yield* remove(oldest);
    }
  });

  /** Finishes a job that is not queued. Uninterruptible, since a client may disconnect meanwhile. */
  const finish = Effect.fnUntraced(function* (
    entry: JobEntry,
    status: JobStatus,
    result: SentResult | undefined,
  ) {
    table.finish(entry, status, result, now());
    timers.start(entry);
    yield* releaseRequest(entry);
    yield* store.update(storedJobOf(entry));
    entry.changes.notify();
    if (entry.webhook !== undefined) yield* callWebhook(entry.webhook, viewOf(entry));
    yield* removeExcess;
  }, Effect.uninterruptible);

  /** Ends a queued or running job; the worker stops it if it runs. */
  const end = Effect.fnUntraced(function* (entry: JobEntry, status: JobStatus, error?: string) {
    if (!table.removeQueued(entry)) yield* Queue.offer(stops, entry.id);
    yield* finish(entry, status, error === undefined ? undefined : SentResult.ofError(error));
  }, Effect.uninterruptible);

  return { table, stops, timers, store, workerId, now, viewOf, removeExcess, finish, end, remove };
});

export type JobLifecycle = Effect.Success<typeof makeJobLifecycle>;
