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

/** The id of a job is unknown, or its result has expired. */
export class JobNotFound extends Schema.TaggedError<JobNotFound>()("JobNotFound", {
  id: Schema.String,
}) {
  override get message(): string {
    return `Unknown or expired job ${this.id}. Results are kept for ${Duration.toMinutes(RETENTION)} minutes, up to ${MAX_FINISHED} jobs and ${MAX_FINISHED_BYTES / 1024 / 1024} MiB.`;
  }
}

/** The memory limit for requests is reached. */
export class QueueFull extends Schema.TaggedError<QueueFull>()("QueueFull", {}) {}

/** Reserves memory for a stored request; returns an effect that releases it, or none if the limit is reached. */
const reserve = Effect.fnUntraced(function* ({ length }: Uint8Array) {
  const budget = yield* RequestBudget;
  return (yield* budget.reserve(length))
    ? Option.some(budget.release(length))
    : Option.none<Effect.Effect<void>>();
});

const noRelease = () => Effect.void;

/** Adds a job of an earlier process; a job that was running then is queued again. */
const restore = Effect.fnUntraced(function* ({ table, timers }: JobLifecycle, job: StoredJob) {
  const hasEnded = isFinal(job.state.status);
  const request = requestOf(job.request);
  if (Option.isNone(request) && !hasEnded) {
    return yield* Effect.logWarning(
      `Ignoring job ${job.state.id}: its stored request is missing or invalid`,
    );
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

const waitUntil = (entry: JobEntry, isMet: () => boolean, timeout: Duration.Input) =>
  Effect.timeoutOption(entry.changes.until(isMet), timeout);

const findJob = ({ table }: JobLifecycle, id: string) =>
  Effect.suspend(() => {
    const entry = table.find(id);
    return entry === undefined ? Effect.fail(new JobNotFound({ id })) : Effect.succeed(entry);
  });

/** The operations of clients that read jobs. */
const jobViews = (lifecycle: JobLifecycle) => {
  const { table, viewOf } = lifecycle;
  const wait = Effect.fnUntraced(function* (id: string, timeout: Duration.Input) {
    const entry = yield* findJob(lifecycle, id);
    yield* waitUntil(entry, () => isFinal(entry.status), timeout);
    return viewOf(entry);
  });

  const stream = Effect.fnUntraced(function* (id: string, timeout: Duration.Input) {
    const entry = yield* findJob(lifecycle, id);
    yield* waitUntil(entry, () => isFinal(entry.status) || !entry.stream.isEmpty, timeout);
    const chunks = table.fetchValues(entry);
    // A final status would tell the client that there are no more values.
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

/** The operations of clients that change jobs. */
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

/** A queue like RunPod's, in this process, between clients and a worker. */
export class LocalQueue extends Context.Service<
  LocalQueue,
  {
    /**
     * Adds a job to the end of the queue; `body` is the text of the request, which the caller must not change. The
     * queue releases it, so the caller must be uninterruptible from taking over the body until this completes.
     */
    readonly submit: (request: JobRequest, body?: ReservedBody) => Effect.Effect<LocalJob>;
    readonly status: (id: string) => Effect.Effect<LocalJob, JobNotFound>;
    /** Waits until a job has finished, or until the timeout; returns its state. */
    readonly wait: (id: string, timeout: Duration.Input) => Effect.Effect<LocalJob, JobNotFound>;
    /** Waits for unfetched values until the timeout, and returns them, each as the text of `{"output": …}`. */
    readonly stream: (
      id: string,
      timeout: Duration.Input,
    ) => Effect.Effect<
      { readonly status: JobStatus; readonly chunks: ReadonlyArray<Uint8Array> },
      JobNotFound
    >;
    /** Cancels a queued or running job; the worker stops it if it runs. */
    readonly cancel: (id: string) => Effect.Effect<LocalJob, JobNotFound>;
    /** Queues a job again if it failed or timed out. */
    readonly retry: (id: string) => Effect.Effect<LocalJob, JobNotFound | QueueFull>;
    /** Cancels all queued jobs, and returns their number. */
    readonly purge: Effect.Effect<number>;
    readonly counts: Effect.Effect<Readonly<JobCounts>>;
    /** The worker's side of the queue. */
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
