import { randomUUID } from "node:crypto";

import { Context, Duration, Effect, Layer, Option, Schema } from "effect";
import type { HttpClient } from "effect/http";

import { isFinal, type JobRequest, type JobStatus } from "../../domain/EndpointJob.ts";
import type { JobQueue } from "../../queue/JobQueue.ts";
import { type ReservedBody, RequestBudget } from "../http/RequestBody.ts";
import { JobStore } from "../store/JobStore.ts";
import type { JobStoreUnusable } from "../store/JobStoreUnusable.ts";
import type { StoredJob } from "../store/StoredJob.ts";
import {
  canRunAgain,
  entryOf,
  type JobEntry,
  releaseRequest,
  RETENTION,
  storedJobOf,
} from "./JobEntry.ts";
import { expireJobs } from "./JobExpiry.ts";
import { type JobLifecycle, makeJobLifecycle } from "./JobLifecycle.ts";
import { type JobCounts, MAX_FINISHED, MAX_FINISHED_BYTES } from "./JobTable.ts";
import type { LocalJob } from "./LocalJob.ts";
import { requestOf, workerSide } from "./WorkerSide.ts";

/** There is no such job, or not any more. */
export class JobNotFound extends Schema.TaggedError<JobNotFound>()("JobNotFound", {
  id: Schema.String,
}) {
  override get message(): string {
    return `Unknown or expired job ${this.id}. Results are kept for ${Duration.toMinutes(RETENTION)} minutes, of ${MAX_FINISHED} jobs and ${MAX_FINISHED_BYTES / 1024 / 1024} MiB at most.`;
  }
}

/** There is no memory for one more job. */
export class QueueFull extends Schema.TaggedError<QueueFull>()("QueueFull", {}) {}

/** Reserves memory for a request that has no client; returns its release, or none if there is no room. */
const reserve = Effect.fnUntraced(function* ({ length }: Uint8Array) {
  const budget = yield* RequestBudget;
  return (yield* budget.reserve(length))
    ? Option.some(budget.release(length))
    : Option.none<Effect.Effect<void>>();
});

const noRelease = () => Effect.void;

/** Adds a job of an earlier process; one that ran when that process ended runs again. */
const restore = Effect.fnUntraced(function* ({ table, timers }: JobLifecycle, job: StoredJob) {
  const hasEnded = isFinal(job.state.status);
  const request = requestOf(job.request);
  if (Option.isNone(request) && !hasEnded) {
    return yield* Effect.logWarning(`Ignoring job ${job.state.id}: it has no stored request`);
  }
  const release = hasEnded ? Option.none() : yield* reserve(job.request);
  const entry = entryOf(
    job,
    Option.getOrElse(request, (): JobRequest => ({})),
    Option.getOrElse(release, noRelease),
  );
  table.add(entry);
  timers.start(entry);
});

const newJob = (request: Uint8Array, now: number): StoredJob => ({
  state: {
    id: `${randomUUID()}-l1`,
    submitted: now,
    status: "IN_QUEUE",
    started: null,
    ended: null,
    retries: 0,
  },
  request,
  result: undefined,
});

const bodyOf = (request: JobRequest): ReservedBody => ({
  bytes: Buffer.from(JSON.stringify(request)),
  release: Effect.void,
});

const waitUntil = (entry: JobEntry, isMet: () => boolean, limit: Duration.Input) =>
  Effect.timeoutOption(entry.changes.until(isMet), limit);

const findJob = ({ table }: JobLifecycle, id: string) =>
  Effect.suspend(() => {
    const entry = table.find(id);
    return entry === undefined ? Effect.fail(new JobNotFound({ id })) : Effect.succeed(entry);
  });

/** How clients see jobs. */
const jobViews = (lifecycle: JobLifecycle) => {
  const { table, viewOf } = lifecycle;
  const wait = Effect.fnUntraced(function* (id: string, limit: Duration.Input) {
    const entry = yield* findJob(lifecycle, id);
    yield* waitUntil(entry, () => isFinal(entry.status), limit);
    return viewOf(entry);
  });

  const stream = Effect.fnUntraced(function* (id: string, limit: Duration.Input) {
    const entry = yield* findJob(lifecycle, id);
    yield* waitUntil(entry, () => isFinal(entry.status) || !entry.stream.isEmpty, limit);
    const chunks = table.fetchValues(entry);
    // A final state would tell the client that nothing more comes.
    const status: JobStatus = entry.stream.isEmpty ? entry.status : "IN_PROGRESS";
    return { status, chunks };
  });

  return {
    status: (id: string) => Effect.map(findJob(lifecycle, id), viewOf),
    wait,
    stream,
    counts: Effect.sync(() => table.counts()),
  };
};

/** How clients change jobs. */
const jobChanges = (lifecycle: JobLifecycle, budget: RequestBudget) => {
  const { table, timers, store, now, viewOf, finish, end } = lifecycle;
  const submit = Effect.fnUntraced(function* (request: JobRequest, body = bodyOf(request)) {
    const entry = entryOf(newJob(body.bytes, now()), request, body.release);
    yield* store.add(storedJobOf(entry));
    table.add(entry);
    timers.start(entry);
    const view = viewOf(entry);
    table.arrivals.notify();
    return view;
  });

  const cancel = Effect.fnUntraced(function* (id: string) {
    const entry = yield* findJob(lifecycle, id);
    if (!isFinal(entry.status)) yield* end(entry, "CANCELLED");
    return viewOf(entry);
  });

  const retry = Effect.fnUntraced(function* (id: string) {
    const entry = yield* findJob(lifecycle, id);
    if (!canRunAgain(entry.status)) return viewOf(entry);
    const release = yield* Effect.provideService(reserve(entry.request), RequestBudget, budget);
    if (Option.isNone(release)) return yield* new QueueFull();
    entry.release = release.value;
    table.retry(entry);
    timers.start(entry);
    yield* store.update(storedJobOf(entry));
    entry.changes.notify();
    table.arrivals.notify();
    return viewOf(entry);
  }, Effect.uninterruptible);

  const purge = Effect.suspend(() => {
    const queued = table.removeAllQueued();
    return Effect.as(
      Effect.forEach(queued, (entry) => finish(entry, "CANCELLED", undefined), { discard: true }),
      queued.length,
    );
  }).pipe(Effect.uninterruptible);

  return { submit, cancel, retry, purge };
};

/** A queue like RunPod's in this process, used by clients on one side and by a worker on the other. */
export class LocalQueue extends Context.Service<
  LocalQueue,
  {
    /**
     * Puts a job at the end of the queue; `body` is the text of the request, which the caller must not change. The
     * queue releases it. The caller must not be interruptible between taking over the body and the end of this.
     */
    readonly submit: (request: JobRequest, body?: ReservedBody) => Effect.Effect<LocalJob>;
    readonly status: (id: string) => Effect.Effect<LocalJob, JobNotFound>;
    /** Waits for the end of a job; returns its state when the limit is reached. */
    readonly wait: (id: string, limit: Duration.Input) => Effect.Effect<LocalJob, JobNotFound>;
    /** Values that no client has fetched, each as the text of `{"output": …}`; waits for some up to the limit. */
    readonly stream: (
      id: string,
      limit: Duration.Input,
    ) => Effect.Effect<
      { readonly status: JobStatus; readonly chunks: ReadonlyArray<Uint8Array> },
      JobNotFound
    >;
    /** Ends a job that has not ended; the worker stops it if it runs. */
    readonly cancel: (id: string) => Effect.Effect<LocalJob, JobNotFound>;
    /** Runs a job again that failed or timed out. */
    readonly retry: (id: string) => Effect.Effect<LocalJob, JobNotFound | QueueFull>;
    /** Cancels all queued jobs, and returns their number. */
    readonly purge: Effect.Effect<number>;
    readonly counts: Effect.Effect<Readonly<JobCounts>>;
    /** The queue for the worker. */
    readonly forWorker: JobQueue["Service"];
    readonly workerId: string;
  }
>()("worker-tetra/endpoint/jobs/LocalQueue") {
  static readonly layer: Layer.Layer<
    LocalQueue,
    JobStoreUnusable,
    HttpClient.HttpClient | JobStore
  > = Layer.effect(
    this,
    Effect.gen(function* () {
      const lifecycle = yield* makeJobLifecycle;
      const { table, store, removeExcess, workerId } = lifecycle;
      yield* Effect.addFinalizer(() =>
        Effect.forEach(table.all(), releaseRequest, { discard: true }),
      );
      yield* Effect.forEach(yield* store.kept, (job) => restore(lifecycle, job), {
        discard: true,
      });
      yield* removeExcess;
      yield* Effect.forkScoped(expireJobs(lifecycle));
      return LocalQueue.of({
        ...jobViews(lifecycle),
        ...jobChanges(lifecycle, yield* RequestBudget),
        forWorker: workerSide(lifecycle),
        workerId,
      });
    }),
  );
}
