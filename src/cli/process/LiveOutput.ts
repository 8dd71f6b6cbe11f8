import { listenerOf } from "../../domain/JobEvents.ts";
import { visibleStyled } from "../results/TerminalText.ts";

/**
 * Prints the output of jobs unchanged, because clients look for the lines of a job in the pod's log. On a terminal,
 * control characters other than colours are escaped.
 */
export const liveOutput = listenerOf({
  OutputWritten: ({ lines }) => {
    process.stdout.write(process.stdout.isTTY ? visibleStyled(lines) : lines);
  },
});
