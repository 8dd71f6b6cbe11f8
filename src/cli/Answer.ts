import { Console, Effect, Option } from "effect";

import { PythonRunner } from "../execution/PythonRunner.ts";
import type { FunctionResponse } from "../protocol/FunctionResponse.ts";

/** Characters of a result that a person gets to see. */
const RESULT_SHOWN = 2000;

const indented = (text: string) => text.trimEnd().replaceAll(/^/gm, "  ");

/** The value in an answer as Python writes it; undefined where there is none, or Python here can't load it. */
export const reprOf = Effect.fnUntraced(function* (response: FunctionResponse) {
  if (response.json_result !== null) return JSON.stringify(response.json_result);
  if (response.result === null) return undefined;
  const runner = yield* PythonRunner;
  const repr = yield* Effect.orElseSucceed(
    runner.describe(Buffer.from(response.result, "base64"), RESULT_SHOWN),
    Option.none<string>,
  );
  return Option.getOrUndefined(repr);
});

/** Says how a job ended, except for what it printed. `mark` is ✓ or ✗. */
export const tellAnswer = Effect.fnUntraced(function* (
  response: FunctionResponse,
  {
    mark,
    took,
    repr,
  }: { readonly mark: string; readonly took: string; readonly repr: string | undefined },
) {
  const console = yield* Console.Console;
  if (response.success) {
    console.log(`${mark} succeeded in ${took}`);
    if (repr !== undefined) console.log(`  result: ${repr}`);
  } else {
    console.log(`${mark} failed in ${took}`);
    console.log(indented(response.error ?? ""));
  }
  if (response.instance_info !== null) {
    const { method_calls } = response.instance_info;
    console.log(
      `  instance: ${response.instance_id} (${method_calls} ${method_calls === 1 ? "call" : "calls"})`,
    );
  }
});
