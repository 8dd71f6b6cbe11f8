import { Context, Effect, Layer } from "effect";

import { DependencyInstaller } from "../dependencies/DependencyInstaller.ts";
import { base64Capacity, type EncodedValue } from "../domain/EncodedValue.ts";
import {
  type AnswerLimit,
  CHUNK_LIMIT,
  DOCUMENT_OVERHEAD,
  FunctionAnswer,
  tooLarge,
} from "../domain/FunctionAnswer.ts";
import {
  decode,
  type FunctionRequest,
  type SerializationFormat,
} from "../domain/FunctionRequest.ts";
import * as FunctionResponse from "../domain/FunctionResponse.ts";
import { type JobEnd, JobListener } from "../domain/JobEvents.ts";
import { RunnerPool } from "../runner/RunnerPool.ts";
import type { CallError, CallMeta } from "../runner/RunnerProtocol.ts";
import type { Call, CallFailed, CallOutcome } from "../runner/call/Call.ts";
import { Environment } from "../settings/Environment.ts";
import { excerpt } from "../settings/Excerpt.ts";
import * as Setting from "../settings/Setting.ts";
import { Workspace } from "../workspace/Workspace.ts";
import { payloads } from "./Arguments.ts";

/** The longest error with its traceback, in characters: more than Python sends. */
const LONGEST_ERROR = 128 * 1024;

const RESULT_LIMIT = Setting.integer({
  name: "WORKER_RESULT_LIMIT",
  doc: "Maximum size of the response to a job as it is sent, including its output; the job fails when it is larger. RunPod documents 20 MB for `/runsync` and 10 MB for `/run`. Commands that print their results have no such limit.",
  unit: "bytes",
  minimum: 64 * 1024,
  fallback: 20 * 1024 * 1024,
});

/** The limit for answers that are not sent: the text must fit into a string of V8 (512 MiB). */
const LOCAL_LIMIT: AnswerLimit = {
  bytes: 384 * 1024 * 1024,
  source: "an answer can be",
};

/** The most bytes that Python may send for a value, given its largest size in a document. */
const capacity = (format: SerializationFormat, bytes: number): number => {
  const room = Math.max(0, bytes - DOCUMENT_OVERHEAD);
  return format === "json" ? room : base64Capacity(room);
};

const metaOf = (request: FunctionRequest, limit: AnswerLimit, stream: boolean): CallMeta => {
  const shared = {
    name: request.name,
    source: request.code,
    format: request.format,
    args: request.args.length,
    kwargs: Object.keys(request.kwargs),
    modules: request.modules,
    limit: capacity(request.format, limit.bytes),
    ...(stream ? { chunkLimit: capacity(request.format, Math.min(CHUNK_LIMIT, limit.bytes)) } : {}),
  };
  return request.kind === "function"
    ? {
        kind: "function",
        ...shared,
        constructorArgs: 0,
        constructorKwargs: [],
        method: "",
        instance: null,
        fresh: false,
      }
    : {
        kind: "class",
        ...shared,
        constructorArgs: request.constructorArgs.length,
        constructorKwargs: Object.keys(request.constructorKwargs),
        method: request.method,
        instance: request.instanceId ?? null,
        fresh: request.createNewInstance,
      };
};

/** How errors of CUDA and of the libraries on it begin or name themselves. */
const CUDA_FAILURE = /\bcuda|cublas|cudnn|cufft|cusolver|cusparse|\bnccl\b|\bnvml\b/i;

/** How much of a crashed process's last output is searched for that, in characters. */
const LAST_WORDS = 2000;

/** What a completed call indicates about the machine. */
const endOf = ({ error, poisoned }: CallOutcome["result"]): JobEnd =>
  poisoned !== null || (error !== null && CUDA_FAILURE.test(`${error.type} ${error.message}`))
    ? "cuda"
    : "ran";

/** What a failed call indicates about the machine. */
const endOfFailure = (error: CallFailed): JobEnd => {
  if (error._tag === "RunnerCrashed") {
    return CUDA_FAILURE.test(error.output.slice(-LAST_WORDS)) ? "cuda" : "ran";
  }
  if (error._tag === "CallTimedOut") return "ran";
  if (error._tag !== "RunnerUnavailable") return "workspace";
  return error.hasStarted === true ? "ran" : "launch";
};

/** The message first, since that is what people see of it in one line; the traceback after. */
const errorText = ({ kind, type, message, traceback }: CallError): string => {
  const first = kind === "exception" ? (message === "" ? type : `${type}: ${message}`) : message;
  return traceback === "" ? first : `${first}\n\n${traceback}`;
};

/** The error message for the client; undefined if the call succeeded. */
const failureOf = (
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

/** The answer for the outcome of a call; `shown` masks and shortens an error message. */
const answerOf = (
  format: SerializationFormat,
  outcome: CallOutcome,
  limit: AnswerLimit,
  shown: (text: string) => string,
): FunctionAnswer => {
  const { instance } = outcome.result;
  const fields: Partial<FunctionResponse.FunctionResponse> =
    instance === null
      ? { stdout: outcome.output }
      : {
          stdout: outcome.output,
          instance_id: instance.id,
          instance_info: {
            class_name: instance.class_name,
            created_at: instance.created_at,
            method_calls: instance.method_calls,
            last_used: instance.last_used,
          },
        };
  const error = failureOf(format, outcome, limit);
  return error === undefined
    ? FunctionAnswer.within(limit, FunctionResponse.success(fields), outcome.value)
    : FunctionAnswer.within(limit, FunctionResponse.failure(shown(error), fields));
};

/** One value of a generator, if it can be streamed. */
const chunkOf = (value: EncodedValue | undefined): FunctionAnswer | undefined =>
  value === undefined || value.problem !== undefined ? undefined : FunctionAnswer.chunk(value);

/** Carries out a request, whatever it is; the only place where an error becomes an answer. */
export class RemoteExecutor extends Context.Service<
  RemoteExecutor,
  {
    /** The `input` of a job to its `output`. Interrupting it stops the code. */
    readonly execute: (input: unknown) => Effect.Effect<FunctionResponse.FunctionResponse>;
    /** The same within the limit of responses, as it is written into one. */
    readonly answer: (input: unknown) => Effect.Effect<FunctionAnswer>;
  }
>()("worker-tetra/functions/RemoteExecutor") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const workspace = yield* Workspace;
      const dependencies = yield* DependencyInstaller;
      const runner = yield* RunnerPool;
      const { mask } = yield* Environment;
      const shown = (error: string) => excerpt(mask(error), LONGEST_ERROR).toWellFormed();
      const responseLimit: AnswerLimit = {
        bytes: yield* RESULT_LIMIT.value,
        source: "WORKER_RESULT_LIMIT allows",
      };

      const carryOut = Effect.fnUntraced(function* (input: unknown, limit: AnswerLimit) {
        const events = yield* JobListener;
        const request = yield* decode(input);
        const blobs = yield* payloads(request);
        events.notify({ _tag: "StageStarted", stage: "workspace" });
        const prepared = yield* Effect.tapError(workspace.ready, ({ message }) =>
          Effect.sync(() => events.notify({ _tag: "Ended", end: "workspace", reason: message })),
        );
        events.notify({ _tag: "StageStarted", stage: "dependencies" });
        const needed = {
          python: request.dependencies,
          system: request.systemDependencies,
          accelerate: request.accelerateDownloads,
        };
        const workspaceOfCall = yield* dependencies.ensure(needed, prepared);
        events.notify({ _tag: "StageStarted", stage: "running" });
        const call: Call = {
          meta: metaOf(request, limit, events.wantsValues),
          blobs,
          workspace: workspaceOfCall,
          ...(events.wantsValues
            ? {
                chunk: (value) => events.notify({ _tag: "ValueYielded", value: chunkOf(value) }),
              }
            : {}),
        };
        const outcome = yield* Effect.tapError(runner.call(call), (error) =>
          Effect.sync(() =>
            events.notify({ _tag: "Ended", end: endOfFailure(error), reason: error.message }),
          ),
        );
        events.notify({
          _tag: "Ended",
          end: endOf(outcome.result),
          reason: outcome.result.error?.message ?? "",
        });
        return answerOf(request.format, outcome, limit, shown);
      });

      const answerWithin = (input: unknown, limit: AnswerLimit) =>
        carryOut(input, limit).pipe(
          Effect.catch((error) =>
            Effect.succeed(
              FunctionAnswer.within(
                limit,
                FunctionResponse.failure(
                  shown(error.message),
                  // What other tools wrote is part of their error's message.
                  error._tag === "RunnerCrashed" || error._tag === "CallTimedOut"
                    ? { stdout: error.output }
                    : {},
                ),
              ),
            ),
          ),
          Effect.catchDefect((defect) =>
            Effect.as(
              Effect.logError("A defect of the worker itself", defect),
              FunctionAnswer.within(
                limit,
                FunctionResponse.failure(
                  `Internal error of the worker, not of your code: ${shown(String(defect))}. See the worker's log for details.`,
                ),
              ),
            ),
          ),
        );

      return RemoteExecutor.of({
        execute: (input) =>
          Effect.map(answerWithin(input, LOCAL_LIMIT), (answer) => answer.toResponse()),
        answer: (input) => answerWithin(input, responseLimit),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([RunnerPool.layer, DependencyInstaller.layer, Workspace.layer]),
  );
}
