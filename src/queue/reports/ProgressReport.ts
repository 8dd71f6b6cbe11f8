import { Duration, Effect, Latch, Schedule, Scope, Semaphore } from "effect";

import * as Setting from "../../settings/Setting.ts";
import type { JobQueue } from "../JobQueue.ts";

export const PROGRESS = Setting.choice({
  name: "WORKER_PROGRESS",
  doc: "Progress updates sent to RunPod while a job runs: none, its stages, or its stages and last lines of output.",
  choices: ["off", "stages", "output"],
  fallback: "off",
});

/** The time before the first report, so that short jobs send none, and between reports. */
const INTERVAL = Duration.seconds(1);

/** The timeout of a report, which is not retried. */
const SEND_TIMEOUT = Duration.seconds(5);

/** The maximum number of lines of output in a report. */
const MAX_LINES = 20;

/** Reports the progress of one job to RunPod. */
export interface ProgressReport {
  readonly stage: (name: string) => void;
  readonly output: (lines: string) => void;
  /** Stops reporting, and waits for a report that is being sent: the result must be the last message. */
  readonly end: Effect.Effect<void>;
}

const silent: ProgressReport = { stage: () => {}, output: () => {}, end: Effect.void };

/** Sends one report at a time, always with the latest state. */
export const progressReport = Effect.fnUntraced(function* (
  queue: JobQueue["Service"],
  jobId: string,
  mode: "off" | "stages" | "output",
): Effect.fn.Return<ProgressReport, never, Scope.Scope> {
  if (mode === "off") return silent;
  const changed = Latch.makeUnsafe();
  const sendLock = Semaphore.makeUnsafe(1);
  let hasEnded = false;
  let stage = "queued";
  let lines: ReadonlyArray<string> = [];

  const send = sendLock.withPermit(
    Effect.suspend(() => {
      if (hasEnded) return Effect.void;
      changed.closeUnsafe();
      const output = mode === "output" ? { stage, output: lines.join("") } : { stage };
      const body = Buffer.from(JSON.stringify({ status: "IN_PROGRESS", output }));
      return Effect.catch(queue.complete(jobId, body, false, SEND_TIMEOUT), (error) =>
        Effect.logDebug(`Could not send progress: ${error.message}`),
      );
    }),
  );

  yield* changed.await.pipe(
    Effect.andThen(send),
    Effect.repeat(Schedule.spaced(INTERVAL)),
    Effect.delay(INTERVAL),
    Effect.forkScoped,
  );

  return {
    stage: (name) => {
      stage = name;
      changed.openUnsafe();
    },
    output: (more) => {
      if (mode !== "output") return;
      lines = [...lines, ...more.split(/(?<=\n)/)].slice(-MAX_LINES);
      changed.openUnsafe();
    },
    end: Effect.suspend(() => {
      hasEnded = true;
      return sendLock.withPermit(Effect.void);
    }),
  };
});
