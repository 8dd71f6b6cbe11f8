import { Context } from "effect";

import { isFinal, type JobStatus } from "../../domain/EndpointJob.ts";
import { Changes } from "./Changes.ts";
import { canRunAgain, type JobEntry, sizeOf } from "./JobEntry.ts";
import type { SentResult } from "./LocalJob.ts";

/** The most results, and the most bytes of results, that are kept; the oldest are dropped first. */
export const MAX_FINISHED = 1000;
export const MAX_FINISHED_BYTES = 128 * 1024 * 1024;

/** The most bytes of results that a queue keeps; tests have a lower limit. */
export const FinishedBytes = Context.Reference<number>("worker-tetra/endpoint/FinishedBytes", {
  defaultValue: () => MAX_FINISHED_BYTES,
});

const NO_BYTES = new Uint8Array();

/** The numbers of jobs that wait and run now, and of those that ended, by how, and were retried since the start. */
export type JobCounts = Record<JobStatus | "retried", number>;

/**
 * The jobs of a local queue and all changes of their states. Each change is one synchronous step, so that neither an
 * interruption nor another fiber comes in between; this is why the state is plain and mutable. The caller does what
 * follows from a change: it stores the job, releases its request and notifies waiting fibers.
 */
export class JobTable {
  private readonly entries = new Map<string, JobEntry>();
  private readonly queued: Array<JobEntry> = [];
  /** The oldest first. */
  private readonly finished = new Set<JobEntry>();
  /** The sum of the sizes of `finished`, kept up to date since adding them up for each job would take long. */
  private bytes = 0;
  private readonly ended: JobCounts = {
    IN_QUEUE: 0,
    IN_PROGRESS: 0,
    COMPLETED: 0,
    FAILED: 0,
    CANCELLED: 0,
    TIMED_OUT: 0,
    retried: 0,
  };
  private readonly maxBytes: number;

  constructor(maxBytes: number = MAX_FINISHED_BYTES) {
    this.maxBytes = maxBytes;
  }

  /** To be notified when a queued job may be taken. */
  readonly arrivals = new Changes();

  find(id: string): JobEntry | undefined {
    return this.entries.get(id);
  }

  all(): ReadonlyArray<JobEntry> {
    return [...this.entries.values()];
  }

  /** The memory of all finished jobs. */
  get finishedBytes(): number {
    return this.bytes;
  }

  hasQueued(): boolean {
    return this.queued.length > 0;
  }

  counts(): Readonly<JobCounts> {
    let running = 0;
    for (const { status } of this.entries.values()) if (status === "IN_PROGRESS") running += 1;
    return { ...this.ended, IN_QUEUE: this.queued.length, IN_PROGRESS: running };
  }

  /** Adds a job: at the end of the queue, or to the finished ones. One that ran in an earlier process is queued. */
  add(entry: JobEntry): void {
    this.entries.set(entry.id, entry);
    if (isFinal(entry.status)) this.addFinished(entry);
    else this.enqueue(entry);
  }

  private enqueue(entry: JobEntry): void {
    entry.status = "IN_QUEUE";
    entry.started = undefined;
    entry.ended = undefined;
    entry.result = undefined;
    this.queued.push(entry);
  }

  private addFinished(entry: JobEntry): void {
    this.finished.add(entry);
    this.bytes += sizeOf(entry);
  }

  private removeFinished(entry: JobEntry): void {
    if (this.finished.delete(entry)) this.bytes -= sizeOf(entry);
  }

  /** Starts the oldest jobs of the queue. */
  take(count: number, now: number): ReadonlyArray<JobEntry> {
    const taken = this.queued.splice(0, count);
    for (const entry of taken) {
      entry.status = "IN_PROGRESS";
      entry.started = now;
    }
    return taken;
  }

  /** Removes a job from the queue; false if it is not there. */
  removeQueued(entry: JobEntry): boolean {
    const place = this.queued.indexOf(entry);
    if (place >= 0) this.queued.splice(place, 1);
    return place >= 0;
  }

  /** Empties the queue. */
  removeAllQueued(): ReadonlyArray<JobEntry> {
    return this.queued.splice(0);
  }

  /** Ends a job that is not in the queue any more. */
  finish(entry: JobEntry, status: JobStatus, result: SentResult | undefined, now: number): void {
    this.removeFinished(entry);
    entry.status = status;
    entry.ended = now;
    entry.result = result;
    if (!canRunAgain(status)) entry.request = NO_BYTES;
    this.ended[status] += 1;
    this.addFinished(entry);
  }

  /** Puts a finished job at the end of the queue. */
  retry(entry: JobEntry): void {
    this.removeFinished(entry);
    entry.stream.clear();
    entry.retries += 1;
    this.ended.retried += 1;
    this.enqueue(entry);
  }

  setProgress(entry: JobEntry, progress: SentResult): void {
    entry.result = progress;
  }

  /** Adds a value of a job's generator; false if too many values wait for clients. */
  addValue(entry: JobEntry, value: Uint8Array): boolean {
    return this.resize(entry, () => entry.stream.add(value));
  }

  /** Removes values for a client. */
  fetchValues(entry: JobEntry): ReadonlyArray<Uint8Array> {
    return this.resize(entry, () => entry.stream.fetch());
  }

  /** A stopped job may still send values, and clients fetch values of finished jobs. */
  private resize<A>(entry: JobEntry, change: () => A): A {
    const before = sizeOf(entry);
    const result = change();
    if (this.finished.has(entry)) this.bytes += sizeOf(entry) - before;
    return result;
  }

  /** The job to forget next because there are too many results; the newest one always stays. */
  oldestExcess(): JobEntry | undefined {
    const isWithin = this.finished.size <= MAX_FINISHED && this.bytes <= this.maxBytes;
    if (isWithin || this.finished.size <= 1) return undefined;
    const [oldest] = this.finished;
    return oldest;
  }

  remove(entry: JobEntry): void {
    this.entries.delete(entry.id);
    this.removeFinished(entry);
  }
}
