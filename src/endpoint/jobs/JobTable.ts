import { Context } from "effect";

import { isFinal, type JobStatus } from "../../domain/EndpointJob.ts";
import { Changes } from "./Changes.ts";
import { canRunAgain, type JobEntry, sizeOf } from "./JobEntry.ts";
import type { SentResult } from "./LocalJob.ts";

/** The maximum number and bytes of finished jobs; the oldest are removed first. */
export const MAX_FINISHED = 1000;
export const MAX_FINISHED_BYTES = 128 * 1024 * 1024;

/** The maximum bytes of finished jobs as a reference, so that tests can lower it. */
export const FinishedBytes = Context.Reference<number>("worker-tetra/endpoint/FinishedBytes", {
  defaultValue: () => MAX_FINISHED_BYTES,
});

const NO_BYTES = new Uint8Array();

/** The number of queued and running jobs, and of those that finished (by status) or were retried since the start. */
export type JobCounts = Record<JobStatus | "retried", number>;

/**
 * The jobs of a local queue and all changes of their states. Each change is one synchronous step, so that no
 * interruption and no other fiber can see a half-made change; this is why the state is plain and mutable. After a
 * change, the caller stores the job, releases its request and notifies waiting fibers.
 */
export class JobTable {
  private readonly entries = new Map<string, JobEntry>();
  private readonly queued: Array<JobEntry> = [];
  /** Oldest first. */
  private readonly finished = new Set<JobEntry>();
  /** The total size of `finished`, kept up to date because summing it up for each job is slow. */
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

  /** Notify it when a queued job may be taken. */
  readonly arrivals = new Changes();

  find(id: string): JobEntry | undefined {
    return this.entries.get(id);
  }

  all(): ReadonlyArray<JobEntry> {
    return [...this.entries.values()];
  }

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

  /** Adds a job to the end of the queue, or to the finished jobs. A job that ran in an earlier process is queued. */
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

  /** Removes a job from the queue; returns false if it is not queued. */
  removeQueued(entry: JobEntry): boolean {
    const index = this.queued.indexOf(entry);
    if (index >= 0) this.queued.splice(index, 1);
    return index >= 0;
  }

  /** Removes and returns all queued jobs. */
  removeAllQueued(): ReadonlyArray<JobEntry> {
    return this.queued.splice(0);
  }

  /** Finishes a job that is not queued. */
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

  /** Adds a value of a job's generator; returns false if too many values wait for clients. */
  addValue(entry: JobEntry, value: Uint8Array): boolean {
    return this.resize(entry, () => entry.stream.add(value));
  }

  /** Removes and returns values for a client. */
  fetchValues(entry: JobEntry): ReadonlyArray<Uint8Array> {
    return this.resize(entry, () => entry.stream.fetch());
  }

  /** Updates the total size: a stopped job may still send values, and clients fetch values of finished jobs. */
  private resize<A>(entry: JobEntry, change: () => A): A {
    const before = sizeOf(entry);
    const result = change();
    if (this.finished.has(entry)) this.bytes += sizeOf(entry) - before;
    return result;
  }

  /** The oldest finished job if the limits are exceeded; the newest one is never removed. */
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
