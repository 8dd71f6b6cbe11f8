import { Schema } from "effect";

const HINTS: Readonly<Record<string, string>> = {
  SIGKILL:
    "Most often that is the kernel short of memory: use a machine with more, or load less at once",
  SIGSEGV: "That is a fault in native code; the stack at that moment is at the end of the output",
  SIGABRT: "A native library gave up; its reason is in the output",
  SIGBUS: "A file mapped into memory was cut short, or /dev/shm is full",
  SIGTERM: "Something in the container asked it to end",
};

const howItEnded = ({
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
    return "lost its control channel: the code closed or wrote to file descriptors that are not its own";
  }
  return `ended with exit code ${exitCode ?? "unknown"}: the code, or a library that it uses, called os._exit or its like`;
};

/** The Python process ended while a call was running in it; the next call gets a new one. */
export class RunnerCrashed extends Schema.TaggedError<RunnerCrashed>()("RunnerCrashed", {
  exitCode: Schema.optionalKey(Schema.Finite),
  signal: Schema.optionalKey(Schema.String),
  /** Why it was killed, if it sent an invalid message. */
  fault: Schema.optionalKey(Schema.String),
  /** Instances that lived in it. */
  instancesLost: Schema.Int,
  output: Schema.String,
}) {
  override get message(): string {
    const lost =
      this.instancesLost === 0
        ? ""
        : ` ${this.instancesLost === 1 ? "The instance" : `All ${this.instancesLost} instances`} that lived in it ${this.instancesLost === 1 ? "is" : "are"} gone and will be built anew when asked for.`;
    return `The Python process ${howItEnded(this)}.${lost}`;
  }
}

/** A call did not end within its limit and was stopped. */
export class CallTimedOut extends Schema.TaggedError<CallTimedOut>()("CallTimedOut", {
  seconds: Schema.Finite,
  /** Whether it did not stop when asked to, so that its process was killed. */
  killed: Schema.Boolean,
  output: Schema.String,
}) {
  override get message(): string {
    const how = this.killed
      ? "It did not react to being interrupted, so its process was killed and instances are gone."
      : "It was interrupted; the process and its instances live on.";
    return `The code ran longer than WORKER_JOB_TIMEOUT allows (${this.seconds} seconds). ${how} Raise the limit, or do less in one job.`;
  }
}

/** No Python process could be started, or it did not behave like the runner. */
export class RunnerUnavailable extends Schema.TaggedError<RunnerUnavailable>()(
  "RunnerUnavailable",
  {
    /** What failed, as the end of a sentence. */
    reason: Schema.String,
    /** What the process wrote. */
    output: Schema.String,
    /** Whether it had started, so that the code may have run in it. */
    hasStarted: Schema.optionalKey(Schema.Boolean),
  },
) {
  override get message(): string {
    const said = this.output.trim();
    return `The Python process that runs the code ${this.reason}.${said === "" ? "" : ` It said:\n${said}`}`;
  }
}
