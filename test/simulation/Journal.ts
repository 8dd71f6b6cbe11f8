/** The pace of heartbeats counts from the first answer, which takes so long at most, in milliseconds. */
const PING_LATENCY = 1000;

/** One run of a job's code, and the outcome of its result. */
export interface Run {
  readonly id: string;
  readonly number: number;
  /** The time that it started, in milliseconds. */
  readonly started: number;
  isRunning: boolean;
  /** It was interrupted on RunPod's request, so there is no result. */
  isStopped: boolean;
  /** Answers of the service that took its result and reached the worker. */
  acknowledged: number;
  /** Lines of the log which say that its result is lost or kept. */
  owed: number;
}

/** What a schedule has shown so far, and what must not have happened in it. */
export class Journal {
  readonly runs: Array<Run> = [];
  readonly violations: Array<string> = [];
  duplicates = 0;
  /** Jobs that reached the worker and whose end is not known yet, with how often they came. */
  private readonly open = new Map<string, number>();
  private lastPing: { readonly at: number; answered: number | undefined } | undefined;
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

  /** Deliveries of a job that the worker ignores, because it has it already. */
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
    const twin = this.running.find((run) => run.id === id);
    if (twin !== undefined) this.violation(`${id} runs twice at the same time`);
    if (!this.open.has(id)) this.violation(`${id} runs and was not taken`);
    const run: Run = {
      id,
      number: this.runs.length,
      started: this.now(),
      isRunning: true,
      isStopped: false,
      acknowledged: 0,
      owed: 0,
    };
    this.runs.push(run);
    if (this.running.length > limit) {
      this.violation(`${this.running.length} jobs run at a time, more than ${limit}`);
    }
    return run;
  }

  /** The latest run of a job that has no end yet. */
  private pending(id: string): Run | undefined {
    return this.runs.findLast(
      (run) => run.id === id && !run.isStopped && run.acknowledged + run.owed === 0,
    );
  }

  /** A job's progress was sent. */
  progress(id: string): void {
    const run = this.runs.findLast((one) => one.id === id);
    if (run === undefined || run.acknowledged + run.owed > 0) {
      this.violation(`progress of ${id} came after its result`);
    }
  }

  /** A result was taken and the worker knows. */
  acknowledged(id: string, body: string): void {
    const run = this.pending(id) ?? this.runs.findLast((one) => one.id === id);
    if (run === undefined) {
      // It was ended before its code began.
      if (!this.open.has(id)) this.violation(`a result of ${id} was sent, which was not taken`);
    } else {
      run.acknowledged += 1;
      if (run.acknowledged + run.owed > 1) {
        this.violation(`run ${run.number} of ${id} was reported twice`);
      }
      if (!body.includes('"error"') && !body.includes(`"json_result":${run.number},`)) {
        this.violation(`the result of ${id} is not that of its run ${run.number}`);
      }
    }
    this.close(id);
  }

  /** The log says that a result was not delivered. */
  owed(id: string): void {
    const run = this.pending(id);
    if (run !== undefined) run.owed += 1;
    this.close(id);
  }

  /** The log says that a job was stopped, perhaps before its code began. */
  stopped(id: string): void {
    const run = this.pending(id);
    if (run !== undefined) run.isStopped = true;
    this.close(id);
  }

  /** Checks that nothing is left when the worker has ended. */
  end(): void {
    for (const { id, number } of this.running) {
      this.violation(`run ${number} of ${id} outlived the worker`);
    }
    for (const { id, number, isStopped, acknowledged, owed } of this.runs) {
      if (!isStopped && acknowledged + owed === 0) {
        this.violation(`run ${number} of ${id} has no result, and the log does not mention that`);
      }
    }
    for (const id of this.open.keys()) {
      this.violation(`${id} was taken and came to no end`);
    }
  }

  close(id: string): void {
    const count = this.open.get(id) ?? 0;
    if (count > 1) this.open.set(id, count - 1);
    else this.open.delete(id);
  }

  /** A heartbeat was sent, with these ids; the result is what to call when it was answered. */
  ping(ids: ReadonlyArray<string>): () => void {
    const at = this.now();
    this.checkPace(at);
    for (const id of ids) {
      if (!this.open.has(id)) this.violation(`a heartbeat names ${id}, which the worker has not`);
    }
    const ping = { at, answered: undefined as number | undefined };
    this.lastPing = ping;
    return () => {
      ping.answered = this.now();
    };
  }

  /** A slow answer delays the next heartbeat, a quick one never does. */
  checkPace(at: number): void {
    if (this.lastPing === undefined) return;
    const { at: last, answered } = this.lastPing;
    const isQuick = answered !== undefined && answered - last < this.interval;
    const limit = isQuick ? this.interval : 3 * this.interval;
    if (at - last > limit + PING_LATENCY) {
      this.violation(`no heartbeat for ${at - last} ms, of at most ${limit} ms`);
    }
  }
}
