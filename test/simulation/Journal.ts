/** The maximum latency of a response to a heartbeat, in milliseconds: the next interval starts with the response. */
const MAX_PING_LATENCY = 1000;

/** One run of a job's code, and the outcome of its result. */
export interface Run {
  readonly id: string;
  readonly number: number;
  /** The start time in milliseconds. */
  readonly started: number;
  isRunning: boolean;
  /** Whether RunPod stopped the run, so that there is no result. */
  isStopped: boolean;
  /** The number of responses that accepted its result and reached the worker. */
  acknowledged: number;
  /** The number of log messages that its result is lost or stored. */
  undelivered: number;
}

/** Records the events of a schedule, and violations of what must hold. */
export class Journal {
  readonly runs: Array<Run> = [];
  readonly violations: Array<string> = [];
  duplicates = 0;
  /** The number of deliveries of each job that has reached the worker and has not ended. */
  private readonly open = new Map<string, number>();
  private lastPing: { readonly at: number; responded: number | undefined } | undefined;
  private readonly now: () => number;
  private readonly interval: number;

  constructor(now: () => number, interval: number) {
    this.now = now;
    this.interval = interval;
  }

  violation(text: string): void {
    this.violations.push(`at ${(this.now() / 1000).toFixed(1)} s: ${text}`);
  }

  delivered(id: string): void {
    this.open.set(id, (this.open.get(id) ?? 0) + 1);
  }

  /** The worker ignored a duplicate delivery. */
  ignored(id: string): void {
    this.duplicates += 1;
    const count = this.open.get(id) ?? 0;
    if (count < 2) this.violation(`a delivery of ${id} was ignored although it was the only one`);
    this.open.set(id, Math.max(1, count - 1));
  }

  isOpen(id: string): boolean {
    return this.open.has(id);
  }

  get openIds(): ReadonlyArray<string> {
    return [...this.open.keys()];
  }

  get running(): ReadonlyArray<Run> {
    return this.runs.filter(({ isRunning }) => isRunning);
  }

  start(id: string, limit: number): Run {
    const other = this.running.find((run) => run.id === id);
    if (other !== undefined) this.violation(`${id} runs twice at the same time`);
    if (!this.open.has(id)) this.violation(`${id} runs and was not taken`);
    const run: Run = {
      id,
      number: this.runs.length,
      started: this.now(),
      isRunning: true,
      isStopped: false,
      acknowledged: 0,
      undelivered: 0,
    };
    this.runs.push(run);
    if (this.running.length > limit) {
      this.violation(`${this.running.length} jobs run at a time, more than ${limit}`);
    }
    return run;
  }

  /** The latest run of a job without an outcome. */
  private pending(id: string): Run | undefined {
    return this.runs.findLast(
      (run) => run.id === id && !run.isStopped && run.acknowledged + run.undelivered === 0,
    );
  }

  /** A job's progress was sent. */
  progress(id: string): void {
    const run = this.runs.findLast((one) => one.id === id);
    if (run === undefined || run.acknowledged + run.undelivered > 0) {
      this.violation(`progress of ${id} came after its result`);
    }
  }

  /** A result was accepted, and the worker has received the response. */
  acknowledged(id: string, body: string): void {
    const run = this.pending(id) ?? this.runs.findLast((one) => one.id === id);
    if (run === undefined) {
      // The job ended before its code started.
      if (!this.open.has(id)) this.violation(`a result of ${id} was sent, which was not taken`);
    } else {
      run.acknowledged += 1;
      if (run.acknowledged + run.undelivered > 1) {
        this.violation(`run ${run.number} of ${id} was reported twice`);
      }
      if (!body.includes('"error"') && !body.includes(`"json_result":${run.number},`)) {
        this.violation(`the result of ${id} is not that of its run ${run.number}`);
      }
    }
    this.close(id);
  }

  /** The log has a message that a result was not delivered. */
  undelivered(id: string): void {
    const run = this.pending(id);
    if (run !== undefined) run.undelivered += 1;
    this.close(id);
  }

  /** The log has a message that a job was stopped, perhaps before its code started. */
  stopped(id: string): void {
    const run = this.pending(id);
    if (run !== undefined) run.isStopped = true;
    this.close(id);
  }

  /** Checks that every job has an outcome when the worker has ended. */
  end(): void {
    for (const { id, number } of this.running) {
      this.violation(`run ${number} of ${id} is still running after the end of the worker`);
    }
    for (const { id, number, isStopped, acknowledged, undelivered } of this.runs) {
      if (!isStopped && acknowledged + undelivered === 0) {
        this.violation(`run ${number} of ${id} has no result, and the log has no message about it`);
      }
    }
    for (const id of this.open.keys()) {
      this.violation(`${id} was taken and has no outcome`);
    }
  }

  close(id: string): void {
    const count = this.open.get(id) ?? 0;
    if (count > 1) this.open.set(id, count - 1);
    else this.open.delete(id);
  }

  /** A heartbeat was sent with these ids. Returns a function to call at its response. */
  ping(ids: ReadonlyArray<string>): () => void {
    const at = this.now();
    this.checkInterval(at);
    for (const id of ids) {
      if (!this.open.has(id))
        this.violation(`a heartbeat has ${id}, which is not a job of the worker`);
    }
    const ping = { at, responded: undefined as number | undefined };
    this.lastPing = ping;
    return () => {
      ping.responded = this.now();
    };
  }

  /** Checks the interval of heartbeats, which only a slow response may extend. */
  checkInterval(at: number): void {
    if (this.lastPing === undefined) return;
    const { at: last, responded } = this.lastPing;
    const isFast = responded !== undefined && responded - last < this.interval;
    const limit = isFast ? this.interval : 3 * this.interval;
    if (at - last > limit + MAX_PING_LATENCY) {
      this.violation(`no heartbeat for ${at - last} ms; the maximum is ${limit} ms`);
    }
  }
}
