import { listenerOf } from "../../domain/JobEvents.ts";
import { visibleStyled } from "../results/TerminalText.ts";

/**
 * Clients find a job's lines in the pod's log by what they are: exactly as printed. On a terminal they have their
 * colours and nothing else that could control it.
 */
export const liveOutput = listenerOf({
  OutputWritten: ({ lines }) => {
    process.stdout.write(process.stdout.isTTY ? visibleStyled(lines) : lines);
  },
});
