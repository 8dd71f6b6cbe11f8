import { randomUUID } from "node:crypto";

import {
  Clock,
  Context,
  Effect,
  Latch,
  Layer,
  Option,
  Queue,
  Result,
  Schedule,
  Schema,
  Semaphore,
} from "effect";
import { HttpClient } from "effect/http";

import { isFinal, JobRequest, type JobStatus } from "../../domain/EndpointJob.ts";
import type { Job } from "../../domain/Job.ts";
import { parseJson } from "../../domain/JsonLimits.ts";
import { JobQueue, PostFailed } from "../../queue/JobQueue.ts";
import { type HeldBody, RequestBudget } from "../http/RequestBody.ts";
import { JobStore, type JobStoreUnusable, type KeptJob } from "./JobStore.ts";
import { postToWebhook } from "./JobWebhook.ts";
import { LocalJob, SentResult } from "./LocalJob.ts";

/** RunPod's defaults for the run and the life of a job, and how long a result is kept, in milliseconds. */
const EXECUTION_TIMEOUT = 600_000;
const TTL = 24 * 60 * 60 * 1000;
const RETENTION = 30 * 60 * 1000;

/** The most results, and the most bytes of results, that are kept; the oldest are dropped first. */
const MAX_FINISHED = 1000;
const MAX_FINISHED_BYTES = 128 * 1024 * 1024;

/** The most bytes of unfetched stream values that are kept for each job. */
const MAX_CHUNK_BYTES = 16 * 1024 * 1024;

/** Values of a stream that one request fetches, and their bytes; one that is larger comes alone. */
const MAX_FETCHED = 1000;
const MAX_FETCHED_BYTES = 1024 * 1024;

/** The most bytes of results that wait for their webhooks, and the overhead that is counted for each. */
const MAX_WEBHOOK_BYTES = 64 * 1024 * 1024;
const WEBHOOK_OVERHEAD = 4096;

/** The most stop requests that wait for the worker. */
const MAX_STOPS = 1000;

/** How often timeouts of jobs are checked. */
const SWEEP = "1 second";

type Tally = Record<JobStatus | "retried", number>;

/** Bytes above which parsing a text yields to other fibers first. */
const LARGE = 1024 * 1024;

const NOTHING = new Uint8Array();

/** Requests and results stay JSON texts: parsed they may need a hundred times the memory. */
interface Entry {
  readonly id: string;
  readonly webhook: string | undefined;
  readonly executionTimeout: number;
  readonly ttl: number;
  readonly submitted: number;
  status: JobStatus;
  started: number | undefined;
  ended: number | undefined;
  retries: number;
  /** As the client sent it; empty once the job can't run again. */
  request: Uint8Array;
  /** With its `output` or `error`; while it runs, its progress. */
  result: SentResult | undefined;
  /** Values of its generator that no client has fetched. */
  readonly chunks: Array<Uint8Array>;
  chunkBytes: number;
  droppedChunks: number;
  /** Releases the room of its request, which it holds while it waits and runs. */
  release: Effect.Effect<void>;
  /** Opens at the next change. */
  news: Latch.Latch;
}

const entryOf = (
  { state, request: text, result }: KeptJob,
  { policy, webhook }: JobRequest,
  release: Effect.Effect<void>,
): Entry => ({
  id: state.id,
  webhook: webhook === null || webhook === "" ? undefined : webhook,
  executionTimeout: policy?.executionTimeout ?? EXECUTION_TIMEOUT,
  ttl: policy?.ttl ?? TTL,
  submitted: state.submitted,
  status: state.status,
  started: state.started ?? undefined,
  ended: state.ended ?? undefined,
  retries: state.retries,
  request: text,
  result: result === undefined ? undefined : SentResult.of(result),
  chunks: [],
  chunkBytes: 0,
  droppedChunks: 0,
  release,
  news: Latch.makeUnsafe(),
});

const sizeOf = ({ request, result, chunkBytes }: Entry): number =>
  request.length + (result?.bytes.length ?? 0) + chunkBytes;

const canRunAgain = (status: JobStatus): boolean => status === "FAILED" || status === "TIMED_OUT";

const storedJobOf = ({
  id,
  status,
  submitted,
  started,
  ended,
  retries,
  request,
  result,
}: Entry): KeptJob => ({
  state: { id, status, submitted, started: started ?? null, ended: ended ?? null, retries },
  request,
  result: result?.bytes,
});

const jsonOf = (document: object): Uint8Array => Buffer.from(JSON.stringify(document));

/** There is no such job, or not any more. */
export class JobNotFound extends Schema.TaggedError<JobNotFound>()("JobNotFound", {
  id: Schema.String,
}) {
  override get message(): string {
    return `Unknown or expired job ${this.id}. Results are kept for ${RETENTION / 60_000} minutes, of ${MAX_FINISHED} jobs and ${MAX_FINISHED_BYTES / 1024 / 1024} MiB at most.`;
  }
}

/** There is no room for one more job. */
export class QueueFull extends Schema.TaggedError<QueueFull>()("QueueFull", {}) {}

const decodeRequest = Schema.decodeUnknownOption(JobRequest);
const requestOf = (text: Uint8Array): Option.Option<JobRequest> =>
  Option.flatMap(Result.getSuccess(parseJson(text)), decodeRequest);

/** A queue as RunPod has one, in this process: on one side clients, on the other a worker. */
export class LocalQueue extends Context.Service<
  LocalQueue,
  {
    /**
     * Puts a job at the end of the queue; `body` is the text of the request, which the caller must not change. The
     * queue releases it. The caller must not be interruptible between taking over the body and the end of this.
     */
    readonly submit: (request: JobRequest, body?: HeldBody) => Effect.Effect<LocalJob>;
    readonly status: (id: string) => Effect.Effect<LocalJob, JobNotFound>;
    /** Its end, or its state after so many milliseconds. */
    readonly wait: (id: string, milliseconds: number) => Effect.Effect<LocalJob, JobNotFound>;
    /** Values that nobody has fetched, each as the text of `{"output": …}`, waiting for some for so many milliseconds. */
    readonly stream: (
      id: string,
      milliseconds: number,
    ) => Effect.Effect<
      { readonly status: JobStatus; readonly chunks: ReadonlyArray<Uint8Array> },
      JobNotFound
    >;
    /** Ends a job that has not ended; the worker is told to stop it. */
    readonly cancel: (id: string) => Effect.Effect<LocalJob, JobNotFound>;
    /** Runs a job again that failed or timed out. */
    readonly retry: (id: string) => Effect.Effect<LocalJob, JobNotFound | QueueFull>;
    /** Cancels what has not begun; how many that were. */
    readonly purge: Effect.Effect<number>;
    /** How many jobs wait and run now, and how many ended how since the start. */
    readonly counts: Effect.Effect<Readonly<Tally>>;
    /** The other side. */
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
      const client = yield* HttpClient.HttpClient;
      const store = yield* JobStore;
      const scope = yield* Effect.scope;
      const clock = yield* Clock.Clock;
      const workerId = `local-${process.pid}`;
      const entries = new Map<string, Entry>();
      const queued: Array<Entry> = [];
      const finished = new Set<Entry>();
      const stops = yield* Queue.sliding<string>(MAX_STOPS);
      const budget = yield* RequestBudget;
      const webhookRoom = Semaphore.makeUnsafe(MAX_WEBHOOK_BYTES);
      let arrived = Latch.makeUnsafe();
      const tally: Tally = {
        IN_QUEUE: 0,
        IN_PROGRESS: 0,
        COMPLETED: 0,
        FAILED: 0,
        CANCELLED: 0,
        TIMED_OUT: 0,
        retried: 0,
      };

      const now = () => clock.currentTimeMillisUnsafe();

      const viewOf = (entry: Entry): LocalJob => {
        const { id, status, submitted, started, ended, retries } = entry;
        return new LocalJob(
          {
            id,
            status,
            delayTime: (started ?? ended ?? now()) - submitted,
            executionTime: started === undefined ? 0 : (ended ?? now()) - started,
            workerId,
            retries,
          },
          entry.result,
        );
      };

      const changed = (entry: Entry): void => {
        entry.news.openUnsafe();
        entry.news = Latch.makeUnsafe();
      };

      const find = (id: string) =>
        Effect.suspend(() => {
          const entry = entries.get(id);
          return entry === undefined ? Effect.fail(new JobNotFound({ id })) : Effect.succeed(entry);
        });

      const enqueue = (entry: Entry): void => {
        queued.push(entry);
        arrived.openUnsafe();
        arrived = Latch.makeUnsafe();
      };

      const forget = (entry: Entry) => {
        entries.delete(entry.id);
        finished.delete(entry);
        return Effect.andThen(entry.release, store.remove(entry.id));
      };

      /** Drops the oldest results above the limits; the newest always stays. */
      const trim = Effect.gen(function* () {
        let bytes = [...finished].reduce((sum, entry) => sum + sizeOf(entry), 0);
        for (const oldest of finished) {
          const isWithin = finished.size <= MAX_FINISHED && bytes <= MAX_FINISHED_BYTES;
          if (isWithin || finished.size === 1) return;
          bytes -= sizeOf(oldest);
          yield* forget(oldest);
        }
      });

      const post = Effect.fnUntraced(function* (entry: Entry, address: string) {
        const size = Math.min(
          (entry.result?.bytes.length ?? 0) + WEBHOOK_OVERHEAD,
          MAX_WEBHOOK_BYTES,
        );
        if (!(yield* webhookRoom.takeIfAvailable(size))) {
          return yield* Effect.logWarning(
            `The webhook of job ${entry.id} is not called: the results of too many others are still on their way`,
          );
        }
        yield* postToWebhook(address, viewOf(entry)).pipe(
          Effect.provideService(HttpClient.HttpClient, client),
          Effect.ensuring(webhookRoom.release(size)),
          Effect.forkIn(scope),
        );
      });

      /** Uninterruptible: a client may hang up half-way, and its job must still end. */
      const finish = Effect.fnUntraced(function* (
        entry: Entry,
        status: JobStatus,
        result: SentResult | undefined,
      ) {
        entry.status = status;
        entry.ended = now();
        entry.result = result;
        if (!canRunAgain(status)) entry.request = NOTHING;
        tally[status] += 1;
        finished.add(entry);
        yield* entry.release;
        entry.release = Effect.void;
        yield* store.update(storedJobOf(entry));
        changed(entry);
        if (entry.webhook !== undefined) yield* post(entry, entry.webhook);
        yield* trim;
      }, Effect.uninterruptible);

      /** Ends a job before its time; whoever has it is told to stop. */
      const end = Effect.fnUntraced(function* (entry: Entry, status: JobStatus, error?: string) {
        const place = queued.indexOf(entry);
        if (place >= 0) queued.splice(place, 1);
        else yield* Queue.offer(stops, entry.id);
        yield* finish(entry, status, error === undefined ? undefined : SentResult.ofError(error));
      }, Effect.uninterruptible);

      const submit = Effect.fnUntraced(function* (
        request: JobRequest,
        body: HeldBody = { bytes: jsonOf(request), release: Effect.void },
      ) {
        const state = {
          id: `${randomUUID()}-l1`,
          submitted: now(),
          status: "IN_QUEUE",
          started: null,
          ended: null,
          retries: 0,
        } as const;
        const entry = entryOf(
          { state, request: body.bytes, result: undefined },
          request,
          body.release,
        );
        yield* store.add(storedJobOf(entry));
        entries.set(entry.id, entry);
        const view = viewOf(entry);
        enqueue(entry);
        return view;
      });

      /** Waits until something is so of an entry, or time is up. */
      const until = (entry: Entry, isSo: () => boolean, milliseconds: number) =>
        Effect.gen(function* () {
          while (!isSo()) yield* entry.news.await;
        }).pipe(Effect.timeoutOption(milliseconds));

      const available = Effect.gen(function* () {
        while (queued.length === 0) yield* arrived.await;
      });

      /** Waiting is interruptible even if the caller is not; jobs that were taken must be worked on. */
      const take = Effect.fnUntraced(function* (slots: number) {
        yield* Effect.interruptible(available);
        const taken = queued.splice(0, slots);
        for (const entry of taken) {
          entry.status = "IN_PROGRESS";
          entry.started = now();
          changed(entry);
        }
        const jobs: Array<Job> = [];
        for (const { id, request: text } of taken) {
          if (text.length > LARGE) yield* Effect.yieldNow;
          const request = Option.getOrElse(requestOf(text), (): JobRequest => ({}));
          jobs.push({ id, ...("input" in request ? { input: request.input } : {}) });
        }
        // It may have been cancelled in the meantime.
        return {
          jobs: jobs.filter(({ id }) => entries.get(id)?.status === "IN_PROGRESS"),
          unusable: [],
        };
      });

      const complete = Effect.fnUntraced(function* (jobId: string, bytes: Uint8Array) {
        const entry = entries.get(jobId);
        // It was cancelled or ran out of time: what came of it counts no more.
        if (entry === undefined || isFinal(entry.status)) return;
        const result = SentResult.of(bytes);
        if (result === undefined) {
          return yield* new PostFailed({ status: 400, reason: "it is not a valid result" });
        }
        if (!result.isProgress) {
          return yield* finish(entry, result.error === undefined ? "COMPLETED" : "FAILED", result);
        }
        entry.result = result;
        changed(entry);
      });

      const chunk = Effect.fnUntraced(function* (jobId: string, bytes: Uint8Array) {
        const entry = entries.get(jobId);
        if (entry === undefined || SentResult.of(bytes)?.output === undefined) return;
        if (entry.chunkBytes + bytes.length > MAX_CHUNK_BYTES) {
          entry.droppedChunks += 1;
          if (entry.droppedChunks > 1) return;
          return yield* Effect.logWarning(
            `Dropping values from the stream of job ${jobId}: ${MAX_CHUNK_BYTES / 1024 / 1024} MiB are already waiting for a client. The result has all values.`,
          );
        }
        entry.chunks.push(bytes);
        entry.chunkBytes += bytes.length;
        changed(entry);
      });

      const expire = Effect.fnUntraced(function* (entry: Entry) {
        if (entry.ended !== undefined) {
          if (now() - entry.ended > RETENTION) yield* forget(entry);
        } else if (now() - entry.submitted > entry.ttl) {
          yield* end(entry, "TIMED_OUT", "The job was not done within its policy.ttl.");
          yield* forget(entry);
        } else if (entry.started !== undefined) {
          const limit = entry.executionTimeout;
          if (now() - entry.started <= limit) return;
          yield* end(
            entry,
            "TIMED_OUT",
            `The job ran longer than ${limit / 1000} seconds. Send more with it: {"policy": {"executionTimeout": milliseconds}}.`,
          );
        }
      });

      /** Reserves room for a request that has no client; returns its release, or none if there is no room. */
      const reserve = ({ length }: Uint8Array) =>
        Effect.map(budget.reserve(length), (isReserved) =>
          isReserved ? Option.some(budget.release(length)) : Option.none(),
        );

      /** Restores the jobs of an earlier process. */
      const restore = Effect.fnUntraced(function* (job: KeptJob) {
        const isOver = isFinal(job.state.status);
        const request = requestOf(job.request);
        if (Option.isNone(request) && !isOver) {
          return yield* Effect.logWarning(`Ignoring job ${job.state.id}: it has no stored request`);
        }
        const release = isOver ? Option.none() : yield* reserve(job.request);
        const entry = entryOf(
          job,
          Option.getOrElse(request, (): JobRequest => ({})),
          Option.getOrElse(release, () => Effect.void),
        );
        entries.set(entry.id, entry);
        if (isOver) return void finished.add(entry);
        // What ran when the process ended runs again.
        entry.status = "IN_QUEUE";
        entry.started = undefined;
        entry.result = undefined;
        enqueue(entry);
      });

      yield* Effect.addFinalizer(() =>
        Effect.forEach(entries.values(), ({ release }) => release, { discard: true }),
      );
      yield* Effect.forEach(yield* store.kept, restore, { discard: true });
      yield* trim;
      yield* Effect.suspend(() =>
        Effect.forEach([...entries.values()], expire, { discard: true }),
      ).pipe(Effect.repeat(Schedule.spaced(SWEEP)), Effect.forkScoped);

      return LocalQueue.of({
        submit,
        status: (id) => Effect.map(find(id), viewOf),
        wait: Effect.fnUntraced(function* (id: string, milliseconds: number) {
          const entry = yield* find(id);
          yield* until(entry, () => isFinal(entry.status), milliseconds);
          return viewOf(entry);
        }),
        stream: Effect.fnUntraced(function* (id: string, milliseconds: number) {
          const entry = yield* find(id);
          const hasNews = () => isFinal(entry.status) || entry.chunks.length > 0;
          yield* until(entry, hasNews, milliseconds);
          // What is left comes with the next request.
          let count = 0;
          let bytes = 0;
          for (const { length } of entry.chunks) {
            if (count === MAX_FETCHED || (count > 0 && bytes + length > MAX_FETCHED_BYTES)) break;
            count += 1;
            bytes += length;
          }
          entry.chunkBytes -= bytes;
          const chunks = entry.chunks.splice(0, count);
          const isWhole = entry.chunks.length === 0;
          return { status: isWhole ? entry.status : "IN_PROGRESS", chunks };
        }),
        cancel: Effect.fnUntraced(function* (id: string) {
          const entry = yield* find(id);
          if (!isFinal(entry.status)) yield* end(entry, "CANCELLED");
          return viewOf(entry);
        }),
        retry: Effect.fnUntraced(
          function* (id: string) {
            const entry = yield* find(id);
            if (!canRunAgain(entry.status)) return viewOf(entry);
            const release = yield* reserve(entry.request);
            if (Option.isNone(release)) return yield* new QueueFull();
            entry.release = release.value;
            finished.delete(entry);
            entry.status = "IN_QUEUE";
            entry.started = undefined;
            entry.ended = undefined;
            entry.result = undefined;
            entry.chunks.length = 0;
            entry.chunkBytes = 0;
            entry.droppedChunks = 0;
            entry.retries += 1;
            tally.retried += 1;
            yield* store.update(storedJobOf(entry));
            changed(entry);
            enqueue(entry);
            return viewOf(entry);
          },
          (effect) => Effect.uninterruptible(effect),
        ),
        purge: Effect.suspend(() => {
          const all = queued.splice(0);
          return Effect.as(
            Effect.forEach(all, (entry) => finish(entry, "CANCELLED", undefined), {
              discard: true,
            }),
            all.length,
          );
        }).pipe(Effect.uninterruptible),
        counts: Effect.sync(() => ({
          ...tally,
          IN_QUEUE: queued.length,
          IN_PROGRESS: [...entries.values()].filter(({ status }) => status === "IN_PROGRESS")
            .length,
        })),
        forWorker: JobQueue.of({
          take,
          stops: Queue.takeAll(stops),
          complete,
          chunk,
          canStop: true,
          rerunsUnfinished: store.isPersistent,
          canStream: true,
          ping: () => Effect.void,
        }),
        workerId,
      });
    }),
  );
}
