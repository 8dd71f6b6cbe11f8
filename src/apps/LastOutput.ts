import { lastLines } from "../dependencies/ToolOutput.ts";
import { outputOf } from "../runner/RunnerError.ts";
import type { CallFailed } from "../runner/call/Call.ts";

/** The number of lines of a process's output in the error of a job or a start. */
const MAX_LINES = 30;

/** The last lines that a process printed before it crashed or was stopped; otherwise empty. */
export const lastOutputOf = (error: CallFailed): string =>
  lastLines(outputOf(error) ?? "", MAX_LINES);
