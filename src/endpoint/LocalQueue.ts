import { randomUUID } from "node:crypto";

import { Clock, Context, Effect, Latch, Layer, Option, Queue, Schedule, Schema } from "effect";
import { HttpClient } from "effect/http";

import { isFinal, type JobRequest, type JobStatus, type JobView } from "../protocol/EndpointJob.ts";
import type { Job } from "../protocol/Job.ts";
import { JobQueue, PostFailed } from "../runpod/JobQueue.ts";
import { JobStore, type KeptJob } from "./JobStore.ts";
import { postToWebhook } from "./JobWebhook.ts";

/** RunPod's defaults for the run and the life of a job, and how long a result is kept, in milliseconds. */
const EXECUTION_TIMEOUT = 600_000;
const TTL = 24 * 60 * 60 * 1000;
const RETENTION = 30 * 60 * 1000;

/** Results are kept of no more jobs than this. */
const MOST_KEPT = 1000;

/** How often the time of jobs is looked at. */
const SWEEP = "1 second";

type Tally = Record<JobStatus | "retried", number>;

interface Entry {
  readonly id: string;
  readonly request: JobRequest;
  readonly submitted: number;
  status: JobStatus;
  started: number | undefined;
  ended: number | undefined;
  retries: number;
  output: Schema.Json | undefined;
  error: Schema.Json | undefined;
  /** Values of its generator that no client has fetched. */
  readonly chunks: Array<Schema.Json>;
  /** Opens at the next change. */
  news: Latch.Latch;
}

const entryOf = (job: KeptJob): Entry => ({
  started: undefined,
  ended: undefined,
  output: undefined,
  error: undefined,
  ...job,
  chunks: [],
  news: Latch.makeUnsafe(),
});

const bodyOf = ({ output, error }: Entry) => ({
  ...(output === undefined ? {} : { output }),
  ...(error === undefined ? {} : { error }),
});

const keptOf = (entry: Entry): KeptJob => ({
  id: entry.id,
  request: entry.request,
  submitted: entry.submitted,
  status: entry.status,
  retries: entry.retries,
  ...(entry.started === undefined ? {} : { started: entry.started }),
  ...(entry.ended === undefined ? {} : { ended: entry.ended }),
  ...bodyOf(entry),
});

/** There is no such job, or not any more. */
export class JobNotFound extends Schema.TaggedError<JobNotFound>()("JobNotFound", {
  id: Schema.String,
}) {
  override get message(): string {
    return `There is no job ${this.id}: it never was, or its time is over. Results are kept for ${RETENTION / 60_000} minutes.`;
  }
}

const decodeResult = Schema.decodeUnknownOption(
  Schema.fromJsonString(
    Schema.Struct({
      status: Schema.optionalKey(Schema.String),
      output: Schema.optionalKey(Schema.Json),
      error: Schema.optionalKey(Schema.Json),
    }),
  ),
);

/** A queue as RunPod has one, in this process: on one side clients, on the other a worker. */
export class LocalQueue extends Context.Service<
  LocalQueue,
  {
    /** Puts a job at the end of the queue. */
    readonly submit: (request: JobRequest) => Effect.Effect<JobView>;
    readonly status: (id: string) => Effect.Effect<JobView, JobNotFound>;
    /** Its end, or its state after so many milliseconds. */
    readonly wait: (id: string, milliseconds: number) => Effect.Effect<JobView, JobNotFound>;
    /** Values that nobody has fetched, waiting for some for so many milliseconds. */
    readonly stream: (
      id: string,
      milliseconds: number,
    ) => Effect.Effect<
      { readonly status: JobStatus; readonly chunks: ReadonlyArray<Schema.Json> },
      JobNotFound
    >;
    /** Ends a job that has not ended; the worker is told to stop it. */
    readonly cancel: (id: string) => Effect.Effect<JobView, JobNotFound>;
    /** Runs a job again that failed or timed out. */
    readonly retry: (id: string) => Effect.Effect<JobView, JobNotFound>;
    /** Cancels what has not begun; how many that were. */
    readonly purge: Effect.Effect<number>;
    /** How many jobs wait and run now, and how many ended how since the start. */
    readonly counts: Effect.Effect<Readonly<Tally>>;
    /** The other side. */
    readonly forWorker: JobQueue["Service"];
    readonly workerId: string;
  }
>()("worker-tetra/endpoint/LocalQueue") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const client = yield* HttpClient.HttpClient;
      const store = yield* JobStore;
      const scope = yield* Effect.scope;
      const clock = yield* Clock.Clock;
      const workerId = `local-${process.pid}`;
      const entries = new Map<string, Entry>();
      const queued: Array<Entry> = [];
      const finished: Array<Entry> = [];
      const stops = yield* Queue.unbounded<string>();
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

      const viewOf = (entry: Entry): JobView => ({
        id: entry.id,
        status: entry.status,
        delayTime: (entry.started ?? entry.ended ?? now()) - entry.submitted,
        executionTime: entry.started === undefined ? 0 : (entry.ended ?? now()) - entry.started,
        workerId,
        retries: entry.retries,
        ...bodyOf(entry),
      });

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
        return store.remove(entry.id);
      };

      const finish = Effect.fnUntraced(function* (
        entry: Entry,
        status: JobStatus,
        body: { readonly output?: Schema.Json; readonly error?: Schema.Json } = {},
      ) {
        entry.status = status;
        entry.ended = now();
        entry.output = body.output;
        entry.error = body.error;
        tally[status] += 1;
        yield* store.save(keptOf(entry));
        changed(entry);
        finished.push(entry);
        if (finished.length > MOST_KEPT) {
          const oldest = finished.shift();
          if (oldest !== undefined && isFinal(oldest.status)) yield* forget(oldest);
        }
        const { webhook } = entry.request;
        if (webhook === undefined || webhook === null || webhook === "") return;
        yield* postToWebhook(webhook, viewOf(entry)).pipe(
          Effect.provideService(HttpClient.HttpClient, client),
          Effect.forkIn(scope),
        );
      });

      /** Ends a job before its time; whoever has it is told to stop. */
      const end = Effect.fnUntraced(function* (entry: Entry, status: JobStatus, error?: string) {
        const place = queued.indexOf(entry);
        if (place >= 0) queued.splice(place, 1);
        else yield* Queue.offer(stops, entry.id);
        yield* finish(entry, status, error === undefined ? {} : { error });
      });

      const submit = Effect.fnUntraced(function* (request: JobRequest) {
        const entry = entryOf({
          id: `${randomUUID()}-l1`,
          request,
          submitted: now(),
          status: "IN_QUEUE",
          retries: 0,
        });
        yield* store.save(keptOf(entry));
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

      const take = Effect.fnUntraced(
        function* (slots: number) {
          yield* Effect.interruptible(available);
          const jobs: Array<Job> = [];
          for (const entry of queued.splice(0, slots)) {
            entry.status = "IN_PROGRESS";
            entry.started = now();
            changed(entry);
            const { input } = entry.request;
            jobs.push(input === undefined ? { id: entry.id } : { id: entry.id, input });
          }
          return { jobs, unusable: [] };
        },
        (effect) => Effect.uninterruptible(effect),
      );

      const complete = Effect.fnUntraced(function* (jobId: string, bytes: Uint8Array) {
        const entry = entries.get(jobId);
        // It was cancelled or ran out of time: what came of it counts no more.
        if (entry === undefined || isFinal(entry.status)) return;
        const result = decodeResult(Buffer.from(bytes).toString());
        if (Option.isNone(result)) {
          return yield* new PostFailed({ status: 400, reason: "it is no result" });
        }
        const { status, ...body } = result.value;
        if (status !== "IN_PROGRESS") {
          return yield* finish(entry, body.error === undefined ? "COMPLETED" : "FAILED", body);
        }
        entry.output = body.output;
        changed(entry);
      });

      const chunk = (jobId: string, bytes: Uint8Array) =>
        Effect.sync(() => {
          const entry = entries.get(jobId);
          const body = decodeResult(Buffer.from(bytes).toString());
          if (entry === undefined || Option.isNone(body)) return;
          entry.chunks.push(body.value.output ?? null);
          changed(entry);
        });

      const expire = Effect.fnUntraced(function* (entry: Entry) {
        const { policy } = entry.request;
        if (entry.ended !== undefined) {
          if (now() - entry.ended > RETENTION) yield* forget(entry);
        } else if (now() - entry.submitted > (policy?.ttl ?? TTL)) {
          yield* end(entry, "TIMED_OUT", "The job was not done within its policy.ttl.");
          yield* forget(entry);
        } else if (entry.started !== undefined) {
          const limit = policy?.executionTimeout ?? EXECUTION_TIMEOUT;
          if (now() - entry.started <= limit) return;
          yield* end(
            entry,
            "TIMED_OUT",
            `The job ran longer than ${limit / 1000} seconds. Send more with it: {"policy": {"executionTimeout": milliseconds}}.`,
          );
        }
      });

      for (const job of yield* store.kept) {
        const entry = entryOf(job);
        entries.set(entry.id, entry);
        if (isFinal(entry.status)) {
          finished.push(entry);
          continue;
        }
        // What ran when the process ended runs again.
        entry.status = "IN_QUEUE";
        entry.started = undefined;
        enqueue(entry);
      }
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
          return { status: entry.status, chunks: entry.chunks.splice(0) };
        }),
        cancel: Effect.fnUntraced(function* (id: string) {
          const entry = yield* find(id);
          if (!isFinal(entry.status)) yield* end(entry, "CANCELLED");
          return viewOf(entry);
        }),
        retry: Effect.fnUntraced(function* (id: string) {
          const entry = yield* find(id);
          if (entry.status !== "FAILED" && entry.status !== "TIMED_OUT") return viewOf(entry);
          finished.splice(finished.indexOf(entry), 1);
          entry.status = "IN_QUEUE";
          entry.started = undefined;
          entry.ended = undefined;
          entry.output = undefined;
          entry.error = undefined;
          entry.chunks.length = 0;
          entry.retries += 1;
          tally.retried += 1;
          yield* store.save(keptOf(entry));
          changed(entry);
          enqueue(entry);
          return viewOf(entry);
        }),
        purge: Effect.suspend(() => {
          const all = queued.splice(0);
          return Effect.as(
            Effect.forEach(all, (entry) => finish(entry, "CANCELLED"), { discard: true }),
            all.length,
          );
        }),
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
          canStream: true,
          ping: () => Effect.void,
        }),
        workerId,
      });
    }),
  );
}
