import { Context, Effect, Layer, Option } from "effect";

import { EncodedOutput } from "../domain/EncodedOutput.ts";
import { chunkCapacity, type ResponseLimit, valueCapacity } from "../domain/EncodedResponse.ts";
import type { EncodedValue } from "../domain/EncodedValue.ts";
import type { Job } from "../domain/Job.ts";
import { JobListener } from "../domain/JobEvents.ts";
import type { AppJobOutcome } from "../runner/apps/AppJobs.ts";
import { AppRunner } from "../runner/apps/AppRunner.ts";
import type { CallFailed } from "../runner/call/Call.ts";
import { endOf, endOfFailure } from "../runner/call/JobEnds.ts";
import { Environment } from "../settings/Environment.ts";
import { errorFormat, internalError } from "../settings/ErrorText.ts";
import { responseLimit } from "../settings/ResponseLimits.ts";
import * as Setting from "../settings/Setting.ts";
import {
  answerFor,
  type AnswerRules,
  type Answers,
  answersFor,
  clientIn,
  RESULT_INVALID,
  formatTexts,
} from "./AppAnswers.ts";
import { AppStart } from "./AppStart.ts";
import type { AppStartFailed } from "./AppStartFailed.ts";
import { lastOutputOf } from "./LastOutput.ts";
import { startFailureOf } from "./start/Opening.ts";

const LOG_CAPTURE = Setting.optionalText({
  name: "RUNPOD_LOG_CAPTURE",
  doc: "`all` adds the last 16,384 characters that a deployed function of SDK 2.0 printed to its error, as `logs`. Clients then see them.",
  expected: "all, auto or off",
  fallback: "auto: errors have no output",
});

/** One value of a generator; undefined if it is too large or invalid. */
const itemOf = (value: EncodedValue | undefined): EncodedOutput | undefined =>
  value === undefined || value.problem !== undefined ? undefined : EncodedOutput.chunk(value);

/** The answer for a job that ended in Python. */
const answerOfOutcome = (
  { result: { error, failure = null, refresh = false }, value, output }: AppJobOutcome,
  answers: Answers,
  { limit, formatError }: AnswerRules,
): EncodedOutput => {
  if (error !== null) return answerFor(error, output, answers, limit);
  if (value?.problem !== undefined) {
    return answers.failure(
      RESULT_INVALID,
      `The result can't be returned. ${value.problem.message}`,
    );
  }
  return EncodedOutput.within(limit, { value, error: formatTexts(failure, formatError), refresh });
};

/** The answer for a job whose process crashed, was stopped or did not start, with what it printed. */
const answerOfFailure = (error: CallFailed, answers: Answers): EncodedOutput => {
  const output = lastOutputOf(error);
  return answers.failure(
    error._tag,
    output === "" ? error.message : `${error.message}\n\nIts output:\n${output}`,
  );
};

/** Runs jobs of a deployed app. */
export class AppHandler extends Context.Service<
  AppHandler,
  {
    /** Returns the answer to a job in the form of the app's SDK. Waits until the app has started. */
    readonly handle: (job: Job, limit?: ResponseLimit) => Effect.Effect<EncodedOutput>;
  }
>()("worker-tetra/apps/AppHandler") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const start = yield* AppStart;
      const runner = yield* AppRunner;
      const { forPrograms } = yield* Environment;
      const formatError = yield* errorFormat;
      const sentLimit = yield* responseLimit;
      const capture = yield* LOG_CAPTURE.value;
      const hasOutput = Option.exists(capture, (mode) => mode.trim().toLowerCase() === "all");

      const notStarted = Effect.fnUntraced(function* (failure: AppStartFailed, answers: Answers) {
        const { notify } = yield* JobListener;
        const { end, message } = failure;
        if (end !== undefined) notify({ _tag: "Ended", end, reason: message });
        return answers.notStarted(failure);
      });

      const run = Effect.fnUntraced(function* (job: Job, rules: AnswerRules, answers: Answers) {
        const { notify, needsValues } = yield* JobListener;
        notify({ _tag: "StageStarted", stage: "running" });
        const outcome = yield* runner.job({
          input: job.inputText ?? Buffer.from(JSON.stringify(job.input ?? null)),
          limit: valueCapacity("json", rules.limit),
          ...(needsValues
            ? {
                chunkLimit: chunkCapacity("json", rules.limit),
                chunk: (value) => notify({ _tag: "ValueYielded", value: itemOf(value) }),
              }
            : {}),
        });
        const { result } = outcome;
        notify({ _tag: "Ended", end: endOf(result), reason: result.error?.message ?? "" });
        return answerOfOutcome(outcome, answers, rules);
      });

      const handle = Effect.fn("AppHandler.handle")(function* (job: Job, limit = sentLimit) {
        const { notify } = yield* JobListener;
        const rules: AnswerRules = { limit, formatError, hasOutput, variables: forPrograms };
        notify({ _tag: "StageStarted", stage: "workspace" });
        const started = yield* Effect.result(start.ready);
        const answers = answersFor(start.client() ?? clientIn(forPrograms), rules);
        if (started._tag === "Failure") return yield* notStarted(started.failure, answers);
        const { name, kind } = started.success.app.resource;
        if (kind === "api") {
          return answers.failure(
            "NoJobs",
            `${name} serves HTTP requests and takes no jobs. Call its routes, or deploy a function with a queue.`,
          );
        }
        return yield* run(job, rules, answers).pipe(
          Effect.catch((error) => {
            if (error._tag === "AppOpenFailed") {
              return notStarted(startFailureOf(name, error), answers);
            }
            notify({ _tag: "Ended", end: endOfFailure(error), reason: error.message });
            return Effect.succeed(answerOfFailure(error, answers));
          }),
          Effect.catchDefect((defect) =>
            Effect.as(
              Effect.logError("Internal error while running a job", defect),
              answers.failure("InternalError", internalError(defect)),
            ),
          ),
        );
      });

      return AppHandler.of({ handle });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([AppStart.layer, AppRunner.layer]));
}
