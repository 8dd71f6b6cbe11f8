import { type Clock, Effect } from "effect";

import type { Environment } from "../settings/Environment.ts";
import { excerpt } from "../settings/Excerpt.ts";
import { LiveLines } from "./LiveLines.ts";

/** In characters; longer lines are shortened in the log. */
const MAX_LINE_LENGTH = 4096;

/** Logs the output of a program line by line, at most 200 lines a second, with secrets masked and a name as prefix. */
export const liveLog = (
  name: string,
  { mask, maskStream }: Environment["Service"],
  clock: Clock.Clock,
) => {
  let pending: Array<string> = [];
  /** Whether the beginning of the current line was logged already. */
  let isRest = false;
  const lines = new LiveLines(
    (text) => {
      for (const line of text.split(/(?<=\n)/)) {
        if (!isRest && line.trim() !== "") pending.push(line);
        isRest = !line.endsWith("\n");
      }
    },
    () => clock.currentTimeMillisUnsafe(),
    { leftOutNote: (count) => `${count} more lines left out here` },
  );
  const masked = maskStream((bytes) => lines.write(bytes));
  const flush = Effect.suspend(() => {
    const now = pending;
    pending = [];
    return Effect.forEach(
      now,
      (line) => Effect.logInfo(`${name}: ${excerpt(mask(line).trim(), MAX_LINE_LENGTH)}`),
      { discard: true },
    );
  });
  return {
    write: (bytes: Buffer) =>
      Effect.andThen(
        Effect.sync(() => masked.write(bytes)),
        flush,
      ),
    end: Effect.andThen(
      Effect.sync(() => {
        masked.end();
        lines.end();
      }),
      flush,
    ),
  };
};
