import { type ResponseLimit, EncodedResponse, tooLarge } from "../domain/EncodedResponse.ts";
import type { EncodedValue } from "../domain/EncodedValue.ts";
import type { SerializationFormat } from "../domain/FunctionRequest.ts";
import * as FunctionResponse from "../domain/FunctionResponse.ts";
import type { CallError } from "../runner/RunnerProtocol.ts";
import type { CallOutcome } from "../runner/call/Call.ts";
import { headlineOf } from "../runner/call/CallEnd.ts";
import { withTraceback } from "../settings/ErrorText.ts";

/** The limit for a response, and the function that masks and cuts its error message. */
export interface ResponseRules {
  readonly limit: ResponseLimit;
  readonly formatError: (error: string) => string;
}

/** The message comes before the traceback, since logs and consoles display only the first line. */
const errorText = (error: CallError): string => withTraceback(headlineOf(error), error.traceback);

/** The error message for the client; undefined if the call succeeded. */
const errorOf = (
  format: SerializationFormat,
  { result: { error }, value }: CallOutcome,
  limit: ResponseLimit,
): string | undefined => {
  if (error?.kind === "size") {
    const size =
      format === "json"
        ? `its JSON is ${error.message}`
        : `its pickle is ${error.message}, and a third more as base64`;
    return tooLarge(size, limit);
  }
  if (error !== null) return errorText(error);
  return value?.problem === undefined
    ? undefined
    : `The result can't be returned. ${value.problem.message}`;
};

const fieldsOf = ({
  output,
  result: { instance },
}: CallOutcome): Partial<FunctionResponse.FunctionResponse> => {
  if (instance === null) return { stdout: output };
  const { id, ...info } = instance;
  return { stdout: output, instance_id: id, instance_info: info };
};

/** The response for a call that ended in Python. It contains the encoded value without copying it. */
export const responseOf = (
  format: SerializationFormat,
  outcome: CallOutcome,
  { limit, formatError }: ResponseRules,
): EncodedResponse => {
  const fields = fieldsOf(outcome);
  const error = errorOf(format, outcome, limit);
  return error === undefined
    ? EncodedResponse.within(limit, FunctionResponse.success(fields), outcome.value)
    : EncodedResponse.within(limit, FunctionResponse.failure(formatError(error), fields));
};

/** The response for a request that failed before or while its code ran, with the output of the code. */
export const responseOfFailure = (
  limit: ResponseLimit,
  error: string,
  output?: string,
): EncodedResponse =>
  EncodedResponse.within(
    limit,
    FunctionResponse.failure(error, output === undefined ? {} : { stdout: output }),
  );

/** The response with one item of a generator; undefined if the item is too large or invalid. */
export const itemOf = (value: EncodedValue | undefined): EncodedResponse | undefined =>
  value === undefined || value.problem !== undefined ? undefined : EncodedResponse.chunk(value);
