import { Effect, Option, Queue, Result, Schema } from "effect";

import { isFinal, JobRequest } from "../../domain/EndpointJob.ts";
import { inputTextIn, type Job } from "../../domain/Job.ts";
import { parseJson } from "../../domain/JsonLimits.ts";
import { JobQueue } from "../../queue/JobQueue.ts";
import { PostFailed } from "../../queue/runpod/RequestFailed.ts";
import type { JobLifecycle } from "./JobLifecycle.ts";
import { SentResult } from "./LocalJob.ts";
import { MAX_STREAM_BYTES } from "./StreamBuffer.ts";

/** Above this size, parsing a request yields to other fibers first. */
const LARGE_BYTES = 1024 * 1024;

const decodeRequest = Schema.decodeUnknownOption(JobRequest);

/** The request that a client sent; none if it is invalid. */
export const requestOf = (text: Uint8Array): Option.Option<JobRequest> =>
  Option.flatMap(Result.getSuccess(parseJson(text)), decodeRequest);

/** The worker's side of a local queue: a `JobQueue` in place of RunPod's. */
export const workerSide = ({ table, stops, timers, store, now, finish }: JobLifecycle) => {
  /** Only the waiting is interruptible, since jobs that were taken must be started. */
  const take = Effect.fnUntraced(function* (slots: number) {
    yield* Effect.interruptible(table.arrivals.until(() => table.hasQueued()));
    const taken = table.take(slots, now());
    for (const entry of taken) {
      timers.start(entry);
      entry.changes.notify();
    }
    const jobs: Array<Job> = [];
    for (const { id, request: text } of taken) {
      if (text.length > LARGE_BYTES) yield* Effect.yieldNow;
      const request = Option.getOrElse(requestOf(text), (): JobRequest => ({}));
      jobs.push({
        id,
        ...("input" in request ? { input: request.input, ...inputTextIn(text) } : {}),
      });
    }
    // Some may have been cancelled meanwhile.
    return {
      jobs: jobs.filter(({ id }) => table.find(id)?.status === "IN_PROGRESS"),
      invalid: [],
    };
  });

  const complete = Effect.fnUntraced(function* (jobId: string, bytes: Uint8Array) {
    const entry = table.find(jobId);
    // The result of a job that was cancelled or timed out is ignored.
    if (entry === undefined || isFinal(entry.status)) return;
    const result = SentResult.of(bytes);
    if (result === undefined) {
      return yield* new PostFailed({ status: 400, reason: "invalid result" });
    }
    if (!result.isProgress) {
      return yield* finish(entry, result.error === undefined ? "COMPLETED" : "FAILED", result);
    }
    table.setProgress(entry, result);
    entry.changes.notify();
  });

  const chunk = Effect.fnUntraced(function* (jobId: string, bytes: Uint8Array) {
    const entry = table.find(jobId);
    if (entry === undefined || SentResult.of(bytes)?.output === undefined) return;
    if (table.addValue(entry, bytes)) return entry.changes.notify();
    if (entry.stream.droppedCount > 1) return;
    yield* Effect.logWarning(
      `Dropping values from the stream of job ${jobId}: ${MAX_STREAM_BYTES / 1024 / 1024} MiB are already waiting for a client. The result has all values.`,
    );
  });

  return JobQueue.of({
    take,
    stops: Queue.takeAll(stops),
    complete,
    chunk,
    canStop: true,
    rerunsUnfinished: store.isPersistent,
    canStream: true,
    ping: () => Effect.void,
  });
};
