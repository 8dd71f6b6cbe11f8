import { Schema } from "effect";

import type { FunctionResponse } from "../../domain/FunctionResponse.ts";

/** The expected response to a request in a request file. Absent fields are not compared. */
export const Expectation = Schema.Struct({
  success: Schema.Boolean,
  /** Python's repr of the result. */
  result: Schema.optionalKey(Schema.String),
  json_result: Schema.optionalKey(Schema.Json),
  /** Strings that the error must contain, in this order. */
  error: Schema.optionalKey(Schema.Array(Schema.String)),
  /** Strings that the output must contain, in this order. */
  stdout: Schema.optionalKey(Schema.Array(Schema.String)),
  /** Number of calls of the instance. */
  method_calls: Schema.optionalKey(Schema.Int),
  /** Errors of machines without a required feature, such as a GPU. The request is then skipped with the given reason. */
  skip: Schema.optionalKey(
    Schema.Array(Schema.Struct({ error: Schema.String, reason: Schema.String })),
  ),
});
export type Expectation = typeof Expectation.Type;

export type Verdict =
  | { readonly _tag: "Met" }
  | { readonly _tag: "Skipped"; readonly reason: string }
  | { readonly _tag: "Unmet"; readonly differences: ReadonlyArray<string> };

/** The first part that is missing, or not in order. */
const firstMissing = (text: string, parts: ReadonlyArray<string>): string | undefined => {
  let position = 0;
  for (const part of parts) {
    const found = text.indexOf(part, position);
    if (found === -1) return part;
    position = found + part.length;
  }
  return undefined;
};

/** Compares a response, and the repr of its result, with the expectation. */
export const checkResponse = (
  expectation: Expectation,
  response: FunctionResponse,
  repr: string | undefined,
): Verdict => {
  const skip = expectation.skip?.find(({ error }) => response.error?.includes(error));
  if (skip !== undefined) return { _tag: "Skipped", reason: skip.reason };

  const differences: Array<string> = [];
  const compare = (what: string, expected: unknown, actual: unknown) => {
    const [left, right] = [JSON.stringify(expected), JSON.stringify(actual)];
    if (left !== right) differences.push(`${what}: expected ${left}, got ${right}`);
  };
  const find = (what: string, parts: ReadonlyArray<string> | undefined, text: string | null) => {
    const missing = firstMissing(text ?? "", parts ?? []);
    if (missing !== undefined) {
      differences.push(
        `${what}: ${JSON.stringify(missing)} is missing, or not in the expected order`,
      );
    }
  };
  compare("success", expectation.success, response.success);
  if (expectation.result !== undefined) compare("result", expectation.result, repr);
  if (expectation.json_result !== undefined) {
    compare("json_result", expectation.json_result, response.json_result);
  }
  if (expectation.method_calls !== undefined) {
    compare("method_calls", expectation.method_calls, response.instance_info?.method_calls);
  }
  find("error", expectation.error, response.error);
  find("stdout", expectation.stdout, response.stdout);
  return differences.length === 0 ? { _tag: "Met" } : { _tag: "Unmet", differences };
};
