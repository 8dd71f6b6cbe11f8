import { Duration, Effect, Latch, Schedule, Scope, Semaphore } from "effect";

import * as Setting from "../../settings/Setting.ts";
import type { JobQueue } from "../JobQueue.ts";

/** What is reported of a job while it runs. */
export const PROGRESS = Setting.choice({
  name: "WORKER_PROGRESS",
  doc: "What RunPod is told of a job while it runs: nothing, its stages, or its stages and last lines of output.",
  choices: ["off", "stages", "output"],
  fallback: "off",
});

/** The time before the first report, so that short jobs send none, and between two of them. */
const INTERVAL = Duration.seconds(1);

/** The limit for sending a report, which is not retried. */
const SEND_TIMEOUT = Duration.seconds(5);

/** The number of last lines of output in a report. */
const MAX_LINES = 20;

/** Reports the progress of one job to RunPod. */
export interface ProgressReport {
  readonly stage: (name: string) => void;
  readonly output: (lines: string) => void;
  /** Sends no more reports, and waits for the one that is being sent: the result must come last. */
  readonly end: Effect.Effect<void>;
}

const silent: ProgressReport = { stage: () => {}, output: () => {}, end: Effect.void };

/** Sends one report at a time, each with the latest state. */
export const progressReport = Effect.fnUntraced(function* (
  queue: JobQueue["Service"],
  jobId: string,
  mode: "off" | "stages" | "output",
): Effect.fn.Return<ProgressReport, never, Scope.Scope> {
  if (mode === "off") return silent;
  const changed = Latch.makeUnsafe();
  const turn = Semaphore.makeUnsafe(1);
  let hasEnded = false;
  let stage = "queued";
  let lines: ReadonlyArray<string> = [];

  const send = turn.withPermit(
    Effect.suspend(() => {
      if (hasEnded) return Effect.void;
      changed.closeUnsafe();
      const output = mode === "output" ? { stage, output: lines.join("") } : { stage };
      const body = Buffer.from(JSON.stringify({ status: "IN_PROGRESS", output }));
      return Effect.catch(queue.complete(jobId, body, false, SEND_TIMEOUT), (error) =>
        Effect.logDebug(`Progress could not be told: ${error.message}`),
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
      return turn.withPermit(Effect.void);
    }),
  };
});
