import { Clock, Effect } from "effect";

import { JobListener, listenerOf } from "../../domain/JobEvents.ts";
import { liveLog } from "../../platform/LiveLog.ts";
import { Environment } from "../../settings/Environment.ts";
import { type CallOutput, openCallOutput } from "./CallOutput.ts";

/** The limit for output in the error of code that fails. */
const KEPT_OUTPUT_BYTES = 64 * 1024;

/** Logs output that belongs to no job. */
export interface OutputLog {
  readonly write: (bytes: Buffer) => void;
}

/** The log of one process. Its last line is logged when the scope closes. */
export const openLog = Effect.fnUntraced(function* (name: string) {
  const log = liveLog(name, yield* Environment, yield* Clock.Clock);
  const run = Effect.runForkWith(yield* Effect.context<never>());
  yield* Effect.addFinalizer(() => log.end);
  const outputLog: OutputLog = {
    write: (bytes) => {
      run(log.write(bytes));
    },
  };
  return outputLog;
});

/** Output of code that belongs to no job, such as opening an app: it is logged, and kept for an error. */
export const openLoggedOutput = Effect.fnUntraced(function* (log: OutputLog) {
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
