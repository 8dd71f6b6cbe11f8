import { Clock, Effect } from "effect";

import { JobListener, OutputRate } from "../../domain/JobEvents.ts";
import { LiveLines } from "../../platform/LiveLines.ts";
import type { Environment } from "../../settings/Environment.ts";
import { OutputCapture } from "./OutputCapture.ts";

/** The output of one call. */
export interface CallOutput {
  readonly write: (bytes: Buffer) => void;
  /** Must be called once, after the last write. */
  readonly end: () => void;
  /** The masked output within the limit. */
  readonly text: () => string;
}

/** Masks the output of a call, limits its size, and sends its lines to the job's listener. */
export const openCallOutput = Effect.fnUntraced(function* (
  maskStream: Environment["Service"]["maskStream"],
  limitBytes: number,
) {
  const listener = yield* JobListener;
  const linesPerSecond = yield* OutputRate;
  const clock = yield* Clock.Clock;
  const capture = new OutputCapture(limitBytes);
  const lines = listener.needsOutput
    ? new LiveLines(
        (text) => listener.notify({ _tag: "OutputWritten", lines: text }),
        () => clock.currentTimeMillisUnsafe(),
        { linesPerSecond },
      )
    : undefined;
  // Masked before it is cut, since a part of a secret is not recognized.
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
