import { Schema } from "effect";

import { withTraceback } from "../settings/ErrorText.ts";

const HINTS: Readonly<Record<string, string>> = {
  SIGKILL:
    "The most frequent cause is a lack of memory: use a larger machine, or load less data at once",
  SIGSEGV: "Native code crashed; its stack trace is at the end of the output",
  SIGABRT: "A native library aborted; its message is in the output",
  SIGBUS: "A memory-mapped file was truncated, or /dev/shm is full",
  SIGTERM: "Another process in the container terminated it",
};

const causeOf = ({
  exitCode,
  signal,
  fault,
}: {
  readonly exitCode?: number;
  readonly signal?: string;
  readonly fault?: string;
}): string => {
  if (fault !== undefined) {
    return `was killed by the worker (SIGKILL) because of invalid data on its control channel: ${fault}. The code wrote to a file descriptor that it does not own`;
  }
  if (signal !== undefined) {
    const hint = HINTS[signal];
    return `was killed by ${signal}${hint === undefined ? "" : `. ${hint}`}`;
  }
  if (exitCode === 70) {
    return "lost its control channel: the code closed or wrote to a file descriptor that it does not own";
  }
  return `ended with exit code ${exitCode ?? "unknown"}: the code or a library called os._exit or a similar function`;
};

/** The Python process ended during a call; the next call starts a new one. */
export class RunnerCrashed extends Schema.TaggedError<RunnerCrashed>()("RunnerCrashed", {
  exitCode: Schema.optionalKey(Schema.Finite),
  signal: Schema.optionalKey(Schema.String),
  /** Why the worker killed it, if it sent an invalid frame. */
  fault: Schema.optionalKey(Schema.String),
  /** The number of instances in it. */
  instancesLost: Schema.Int,
  output: Schema.String,
}) {
  override get message(): string {
    const lost =
      this.instancesLost === 0
        ? ""
        : ` ${this.instancesLost === 1 ? "Its instance was" : `Its ${this.instancesLost} instances were`} lost and will be recreated by the next call.`;
    return `The Python process ${causeOf(this)}.${lost}`;
  }
}

/** A call exceeded WORKER_JOB_TIMEOUT and was stopped. */
export class CallTimedOut extends Schema.TaggedError<CallTimedOut>()("CallTimedOut", {
  seconds: Schema.Finite,
  /** Whether it did not stop when it was interrupted, so that its process was killed. */
  killed: Schema.Boolean,
  output: Schema.String,
}) {
  override get message(): string {
    const how = this.killed
      ? "It did not stop when it was interrupted, so its process was killed and its instances were lost."
      : "It was interrupted; its process and instances are kept.";
    return `The code ran longer than WORKER_JOB_TIMEOUT allows (${this.seconds} seconds). ${how} Raise the timeout, or do less in one job.`;
  }
}

/** The Python process could not be started, or sent an invalid response. */
export class RunnerUnavailable extends Schema.TaggedError<RunnerUnavailable>()(
  "RunnerUnavailable",
  {
    /** The rest of a sentence that begins with "The Python process". */
    reason: Schema.String,
    output: Schema.String,
    /** Whether the process had started, so that the code may have run. */
    hasStarted: Schema.optionalKey(Schema.Boolean),
  },
) {
  override get message(): string {
    const output = this.output.trim();
    return `The Python process ${this.reason}.${output === "" ? "" : ` Its output:\n${output}`}`;
  }
}

/** WORKER_PRELOAD failed in the process that a job needs. */
export class PreloadFailed extends Schema.TaggedError<PreloadFailed>()("PreloadFailed", {
  /** The value of the setting. */
  preload: Schema.String,
  reason: Schema.String,
  traceback: Schema.String,
  output: Schema.String,
}) {
  override get message(): string {
    return withTraceback(
      `WORKER_PRELOAD (${this.preload}) failed, and jobs can't run before it succeeds: ${this.reason}`,
      this.traceback,
    );
  }
}

/** What the code printed before it failed; undefined if the message of the error contains it, and for other errors. */
export const outputOf = (error: unknown): string | undefined =>
  error instanceof RunnerCrashed || error instanceof CallTimedOut || error instanceof PreloadFailed
    ? error.output
    : undefined;
