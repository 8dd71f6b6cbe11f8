import { Cause, Duration, Effect, Exit, Option } from "effect";

import { Environment } from "../settings/Environment.ts";
import * as Setting from "../settings/Setting.ts";
import type { StopReason } from "./ActiveJobs.ts";
import { SHUTDOWN_GRACE } from "./Draining.ts";
import { JobQueue } from "./JobQueue.ts";
import { failureBody, outputBody } from "./reports/JobResult.ts";

export const REFRESH = Setting.flag({
  name: "WORKER_REFRESH",
  doc: "Exit after one job and request a fresh container from RunPod.",
});

/**
 * How a job ended: stopped by RunPod, which expects no result; interrupted by the worker's shutdown, so that its queue
 * runs it again; or with a result to report.
 */
export type JobOutcome =
  | { readonly _tag: "Stopped" }
  | { readonly _tag: "Requeued" }
  | { readonly _tag: "Ended"; readonly body: Uint8Array };

const isInterrupted = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause);

/** Makes a function that maps the exit of a job's code to the outcome of the job. */
export const makeJobOutcome = Effect.gen(function* () {
  const { rerunsUnfinished } = yield* JobQueue;
  const { mask } = yield* Environment;
  const grace = yield* SHUTDOWN_GRACE.value;
  const refresh = yield* REFRESH.value;

  const interruptedBody = (reason: StopReason | undefined) =>
    failureBody(
      reason === "shut down"
        ? `The worker was shut down and the job did not finish within WORKER_SHUTDOWN_GRACE (${Duration.toSeconds(Option.getOrElse(grace, () => Duration.zero))} seconds). Run it again.`
        : "The worker stopped before the job finished. Run it again.",
    );

  const bodyOf = (exit: Exit.Exit<unknown, unknown>, reason: StopReason | undefined) => {
    if (Exit.isSuccess(exit)) return outputBody(exit.value, refresh);
    if (isInterrupted(exit)) return interruptedBody(reason);
    const error = Cause.squash(exit.cause);
    return failureBody(
      mask(error instanceof Error ? `${error.name}: ${error.message}` : String(error)),
    );
  };

  return (exit: Exit.Exit<unknown, unknown>, reason: StopReason | undefined): JobOutcome => {
    if (reason === "stopped by RunPod" && Exit.hasInterrupts(exit)) return { _tag: "Stopped" };
    if (reason === undefined && rerunsUnfinished && isInterrupted(exit)) {
      return { _tag: "Requeued" };
    }
    return { _tag: "Ended", body: bodyOf(exit, reason) };
  };
});
