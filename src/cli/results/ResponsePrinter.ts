import { Console, Effect } from "effect";

import type { FunctionResponse } from "../../domain/FunctionResponse.ts";
import { ResultDisplay } from "./ResultDisplay.ts";
import { visibleLine } from "./TerminalText.ts";

// Not a pattern with `^`: it also matches after other line separators, which are shown as escapes.
const indented = (text: string) => `  ${text.replaceAll("\n", "\n  ")}`;

/** The Python repr of a response's result; undefined if it has none. */
export const reprOf = Effect.fnUntraced(function* (response: FunctionResponse) {
  if (response.json_result !== null) return JSON.stringify(response.json_result);
  if (response.result === null) return undefined;
  const { show } = yield* ResultDisplay;
  return yield* show(Buffer.from(response.result, "base64"));
});

/** One line with the job and the reason for its failure. */
export const failureLine = (subject: string, how: string, { error }: FunctionResponse): string => {
  const [reason = ""] = (error ?? "").split("\n", 1);
  return `${visibleLine(subject)} failed${how}: ${visibleLine(reason)}`;
};

/** Prints how a job ended, without its output. `mark` is ✓ or ✗. */
export const printOutcome = Effect.fnUntraced(function* (
  response: FunctionResponse,
  {
    subject,
    mark,
    took,
    repr,
  }: {
    /** How to refer to a failed job: its id or its file. */
    readonly subject: string;
    readonly mark: string;
    readonly took: string;
    readonly repr: string | undefined;
  },
) {
  const console = yield* Console.Console;
  if (response.success) {
    console.log(`${mark} succeeded in ${took}`);
    if (repr !== undefined) console.log(`  result: ${repr}`);
  } else {
    console.log(`${mark} ${failureLine(subject, ` in ${took}`, response)}`);
    const rest = (response.error ?? "").replace(/^[^\n]*\n{0,2}/, "").trimEnd();
    if (rest !== "") console.log(indented(rest));
  }
  if (response.instance_info !== null) {
    const { method_calls } = response.instance_info;
    console.log(
      `  instance: ${visibleLine(response.instance_id ?? "")} (${method_calls} ${method_calls === 1 ? "call" : "calls"})`,
    );
  }
});
