import type { Schema } from "effect";

import type { AppClient } from "../domain/DeployedApp.ts";
import { EncodedOutput } from "../domain/EncodedOutput.ts";
import {
  DOCUMENT_OVERHEAD_BYTES,
  type ResponseLimit,
  tooLarge,
  truncateError,
} from "../domain/EncodedResponse.ts";
import { PROTOCOL_VERSION } from "../queue/reports/Heartbeat.ts";
import type { CallError } from "../runner/RunnerProtocol.ts";
import { withTraceback } from "../settings/ErrorText.ts";
import type { AppStartFailed } from "./AppStartFailed.ts";

/** How failures are formatted for the clients of an SDK. */
export interface Answers {
  /** An exception of the user's code, which printed `output`. */
  readonly exception: (error: Omit<CallError, "kind">, output: string) => EncodedOutput;
  /** Any other failure of a job; `type` names its kind. */
  readonly failure: (type: string, message: string) => EncodedOutput;
  /** The app is not ready. */
  readonly notStarted: (failure: AppStartFailed) => EncodedOutput;
}

export interface AnswerRules {
  readonly limit: ResponseLimit;
  /** Masks secrets in an error, and cuts it. */
  readonly formatError: (error: string) => string;
  /** Whether errors have the output of the code, for SDK 2.0. */
  readonly hasOutput: boolean;
  /** The environment variables of the worker. */
  readonly variables: Readonly<Record<string, string>>;
}

/** Clients of Flash read the error as text. */
const flashAnswers = ({ limit, formatError }: AnswerRules): Answers => ({
  // An empty error would mean success.
  exception: ({ type, message, traceback }) =>
    EncodedOutput.exception(
      limit,
      formatError(message === "" ? type : message),
      formatError(traceback),
    ),
  failure: (_, message) => EncodedOutput.failure(limit, formatError(message)),
  notStarted: ({ phase, message, traceback }) =>
    EncodedOutput.failure(
      limit,
      formatError(withTraceback(`The app failed to start in '${phase}': ${message}`, traceback)),
    ),
});

/** The number of characters of the output in an error, as in runpod-python (rp_capture.py). */
const MAX_LOGS = 16 * 1024;

/** Clients of SDK 2.0 read the error as JSON, in the form of runpod-python (rp_job.py). */
const sdkAnswers = ({ limit, formatError, hasOutput, variables }: AnswerRules): Answers => {
  // The three texts are encoded twice, which at most doubles them again.
  const available = (limit.bytes - 2 * DOCUMENT_OVERHEAD_BYTES) / 6;
  const logsOf = (output: string) =>
    hasOutput && output !== ""
      ? { logs: truncateError(output.slice(-MAX_LOGS).toWellFormed(), available) }
      : {};
  const errorOf = (type: string, message: string, traceback: string, output = "") =>
    EncodedOutput.failure(
      limit,
      JSON.stringify({
        error_type: type,
        error_message: truncateError(formatError(message), available),
        error_traceback: truncateError(formatError(traceback), available),
        hostname: variables["RUNPOD_POD_HOSTNAME"] ?? "unknown",
        worker_id: variables["RUNPOD_POD_ID"] ?? "unknown",
        runpod_version: PROTOCOL_VERSION,
        ...logsOf(output),
      }),
    );
  return {
    exception: ({ type, message, traceback }, output) =>
      errorOf(`<class '${type}'>`, message, traceback, output),
    failure: (type, message) => errorOf(type, message, ""),
    notStarted: ({ phase, message, traceback }) =>
      errorOf("BootstrapError", `worker bootstrap failed during '${phase}': ${message}`, traceback),
  };
};

export const answersFor = (client: AppClient, rules: AnswerRules): Answers =>
  client === "flash" ? flashAnswers(rules) : sdkAnswers(rules);

/** The SDK that deployed the app, from the variables that only one of them sets: 2.0 in case of doubt. */
export const clientIn = (variables: Readonly<Record<string, string>>): AppClient =>
  ["FLASH_APP", "FLASH_ENV"].some((name) => name in variables) ? "flash" : "sdk";

/** The type of the error if a result can't be sent. */
export const RESULT_INVALID = "ResultInvalid";

/** The answer for an error that Python reports; the user's exceptions have another form than the worker's errors. */
export const answerFor = (
  error: CallError,
  output: string,
  answers: Answers,
  limit: ResponseLimit,
) => {
  const { kind, type, message, traceback } = error;
  switch (kind) {
    case "exception":
    case "exit":
    case "memory":
      return answers.exception(error, output);
    case "result":
      // The traceback shows only the encoder.
      return answers.failure(RESULT_INVALID, message);
    case "size":
      return answers.failure("ResultTooLarge", tooLarge(`its JSON is ${message}`, limit));
    default:
      return answers.failure(type, withTraceback(message, traceback));
  }
};

/** An error that the code returned, with all texts in it formatted. */
export const formatTexts = (error: Schema.Json, format: (text: string) => string): Schema.Json => {
  if (typeof error === "string") return format(error);
  if (Array.isArray(error)) return error.map((one: Schema.Json) => formatTexts(one, format));
  if (typeof error !== "object" || error === null) return error;
  return Object.fromEntries(
    Object.entries(error).map(([name, value]) => [format(name), formatTexts(value, format)]),
  );
};
