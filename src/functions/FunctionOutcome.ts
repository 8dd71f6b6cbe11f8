import type { EncodedValue } from "../domain/EncodedValue.ts";
import { type AnswerLimit, FunctionAnswer, tooLarge } from "../domain/FunctionAnswer.ts";
import type { SerializationFormat } from "../domain/FunctionRequest.ts";
import * as FunctionResponse from "../domain/FunctionResponse.ts";
import type { CallError } from "../runner/RunnerProtocol.ts";
import type { CallOutcome } from "../runner/call/Call.ts";

/** The limit of an answer, and the function that masks and shortens an error message. */
export interface AnswerRules {
  readonly limit: AnswerLimit;
  readonly shown: (text: string) => string;
}

/** The message first, since logs and consoles show one line of it; the traceback after that. */
const errorText = ({ kind, type, message, traceback }: CallError): string => {
  const first = kind === "exception" ? (message === "" ? type : `${type}: ${message}`) : message;
  return traceback === "" ? first : `${first}\n\n${traceback}`;
};

/** The error message for the client; undefined if the call succeeded. */
const errorOf = (
  format: SerializationFormat,
  { result: { error }, value }: CallOutcome,
  limit: AnswerLimit,
): string | undefined => {
  if (error?.kind === "size") {
    const size =
      format === "json"
        ? `as JSON it is ${error.message}`
        : `pickled it is ${error.message}, and a third more as base64`;
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

/** The answer for a call that came to its end in Python. The encoded value goes into it as it is. */
export const answerOf = (
  format: SerializationFormat,
  outcome: CallOutcome,
  { limit, shown }: AnswerRules,
): FunctionAnswer => {
  const fields = fieldsOf(outcome);
  const error = errorOf(format, outcome, limit);
  return error === undefined
    ? FunctionAnswer.within(limit, FunctionResponse.success(fields), outcome.value)
    : FunctionAnswer.within(limit, FunctionResponse.failure(shown(error), fields));
};

/** The answer for a request that failed before or while its code ran, with what the code had written. */
export const answerOfFailure = (
  limit: AnswerLimit,
  error: string,
  output?: string,
): FunctionAnswer =>
  FunctionAnswer.within(
    limit,
    FunctionResponse.failure(error, output === undefined ? {} : { stdout: output }),
  );

/** One item of a generator, if it can be streamed. */
export const itemOf = (value: EncodedValue | undefined): FunctionAnswer | undefined =>
  value === undefined || value.problem !== undefined ? undefined : FunctionAnswer.chunk(value);
