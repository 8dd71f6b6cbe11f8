import { type Clock, Effect } from "effect";

import type { Environment } from "../settings/Environment.ts";
import { excerpt } from "../settings/Excerpt.ts";
import { LiveLines } from "./LiveLines.ts";

/** In characters: how much of a line is logged. */
const MAX_LINE_LENGTH = 4096;

/** Logs the lines of a program as they come, at most 200 a second, without secrets and with a name before each. */
export const liveLog = (
  name: string,
  { mask, maskStream }: Environment["Service"],
  clock: Clock.Clock,
) => {
  let pending: Array<string> = [];
  /** The beginning of the line was logged already. */
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
