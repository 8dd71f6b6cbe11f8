import { Clock, Effect } from "effect";

import { JobListener, OutputRate } from "../../domain/JobEvents.ts";
import { LiveLines } from "../../platform/LiveLines.ts";
import type { Environment } from "../../settings/Environment.ts";
import { OutputCapture } from "./OutputCapture.ts";

/** Receives the output of one call. */
export interface CallOutput {
  readonly write: (bytes: Buffer) => void;
  /** To be called once, when nothing is written any more. */
  readonly end: () => void;
  /** What is kept of it. */
  readonly text: () => string;
}

/** Masks the output of a call, keeps it within a limit, and sends it to the job's listener line by line. */
export const openCallOutput = Effect.fnUntraced(function* (
  maskStream: Environment["Service"]["maskStream"],
  limitBytes: number,
) {
  const listener = yield* JobListener;
  const linesPerSecond = yield* OutputRate;
  const clock = yield* Clock.Clock;
  const capture = new OutputCapture(limitBytes);
  const lines = listener.wantsOutput
    ? new LiveLines(
        (text) => listener.notify({ _tag: "OutputWritten", lines: text }),
        () => clock.currentTimeMillisUnsafe(),
        { linesPerSecond },
      )
    : undefined;
  // Before anything is cut: a part of a secret may not be recognised.
  const masked = maskStream((bytes) => {
    capture.write(bytes);
    lines?.write(bytes);
  });
  const output: CallOutput = {
    write: masked.write,
    end: () => {
      masked.end();
      lines?.end();
    },
    text: () => capture.text(),
  };
  return output;
});
