import { Duration, Effect, Latch, Schedule, Scope, Semaphore } from "effect";

import * as Setting from "../../settings/Setting.ts";
import type { JobQueue } from "../JobQueue.ts";

/** Which of the events of a job the service hears of while it runs. */
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

/** The progress of one job on its way to the service. */
export interface ProgressReport {
  readonly stage: (name: string) => void;
  readonly output: (lines: string) => void;
  /** From now on nothing is sent, nor on its way: the result comes next. */
  readonly end: Effect.Effect<void>;
}

const silent: ProgressReport = { stage: () => {}, output: () => {}, end: Effect.void };

/** Tells where a job is: in order, one word at a time, the newest state only. */
export const progressReport = Effect.fnUntraced(function* (
  queue: JobQueue["Service"],
  jobId: string,
  mode: "off" | "stages" | "output",
): Effect.fn.Return<ProgressReport, never, Scope.Scope> {
  if (mode === "off") return silent;
  const news = Latch.makeUnsafe();
  const turn = Semaphore.makeUnsafe(1);
  let isOver = false;
  let stage = "queued";
  let lines: ReadonlyArray<string> = [];

  const send = turn.withPermit(
    Effect.suspend(() => {
      if (isOver) return Effect.void;
      news.closeUnsafe();
      const output = mode === "output" ? { stage, output: lines.join("") } : { stage };
      const body = Buffer.from(JSON.stringify({ status: "IN_PROGRESS", output }));
      return Effect.catch(queue.complete(jobId, body, false, SEND_TIMEOUT), (error) =>
        Effect.logDebug(`Progress could not be told: ${error.message}`),
      );
    }),
  );

  yield* news.await.pipe(
    Effect.andThen(send),
    Effect.repeat(Schedule.spaced(INTERVAL)),
    Effect.delay(INTERVAL),
    Effect.forkScoped,
  );

  return {
    stage: (name) => {
      stage = name;
      news.openUnsafe();
    },
    output: (more) => {
      if (mode !== "output") return;
      lines = [...lines, ...more.split(/(?<=\n)/)].slice(-MAX_LINES);
      news.openUnsafe();
    },
    // What is on its way is waited for, or it might come after the result.
    end: Effect.suspend(() => {
      isOver = true;
      return turn.withPermit(Effect.void);
    }),
  };
});
