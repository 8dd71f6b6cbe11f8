import { Clock, Effect } from "effect";

import { JobListener, listenerOf } from "../../domain/JobEvents.ts";
import { liveLog } from "../../platform/LiveLog.ts";
import { Environment } from "../../settings/Environment.ts";
import { type CallOutput, openCallOutput } from "../output/CallOutput.ts";

/** The limit for output in the error of an app that can't be opened or stops serving. */
const KEPT_OUTPUT_BYTES = 64 * 1024;

/** Logs output of an app that belongs to no job. */
export interface AppLog {
  readonly write: (bytes: Buffer) => void;
}

/** The log of one process. Its last line is logged when the scope closes. */
export const openAppLog = Effect.gen(function* () {
  const log = liveLog("app", yield* Environment, yield* Clock.Clock);
  const run = Effect.runForkWith(yield* Effect.context<never>());
  yield* Effect.addFinalizer(() => log.end);
  const appLog: AppLog = {
    write: (bytes) => {
      run(log.write(bytes));
    },
  };
  return appLog;
});

/** Output of opening an app or serving HTTP: it is logged, and kept for an error. */
export const openLoggedOutput = Effect.fnUntraced(function* (log: AppLog) {
  const { maskStream } = yield* Environment;
  const kept = yield* openCallOutput(maskStream, KEPT_OUTPUT_BYTES).pipe(
    Effect.provideService(JobListener, listenerOf({})),
  );
  const output: CallOutput = {
    ...kept,
    write: (bytes) => {
      kept.write(bytes);
      log.write(bytes);
    },
  };
  return output;
});
