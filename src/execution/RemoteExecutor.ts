import { Context, Effect, Layer, Result, Schema } from "effect";

import { DependencyInstaller } from "../dependencies/DependencyInstaller.ts";
import {
  decode,
  type FunctionRequest,
  type SerializationFormat,
} from "../protocol/FunctionRequest.ts";
import * as FunctionResponse from "../protocol/FunctionResponse.ts";
import { type JobEnd, JobEvents } from "../protocol/JobEvents.ts";
import { Environment } from "../settings/Environment.ts";
import { excerpt } from "../settings/Excerpt.ts";
import { Workspace } from "../workspace/Workspace.ts";
import { payloads } from "./Arguments.ts";
import { PythonRunner } from "./PythonRunner.ts";
import type { Call, CallFailed, CallOutcome } from "./Runner.ts";
import type { CallError, CallMeta } from "./RunnerProtocol.ts";

/** An error with its traceback, in characters: more than Python sends of them. */
const LONGEST_ERROR = 128 * 1024;

const metaOf = (request: FunctionRequest, stream: boolean): CallMeta => {
  const shared = {
    name: request.name,
    source: request.code,
    format: request.format,
    args: request.args.length,
    kwargs: Object.keys(request.kwargs),
    modules: request.modules,
    stream,
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

/** What a call that came to its end says about the machine. */
const endOf = ({ error, poisoned }: CallOutcome["result"]): JobEnd =>
  poisoned !== null || (error !== null && CUDA_FAILURE.test(`${error.type} ${error.message}`))
    ? "cuda"
    : "ran";

/** What a call that failed says about the machine. */
const endOfFailure = (error: CallFailed): JobEnd => {
  if (error._tag === "RunnerCrashed") {
    return CUDA_FAILURE.test(error.output.slice(-LAST_WORDS)) ? "cuda" : "ran";
  }
  if (error._tag === "CallTimedOut") return "ran";
  return error._tag === "RunnerUnavailable" && error.hasStarted === true ? "ran" : "launch";
};

const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Json));

const valueFields = (
  format: SerializationFormat,
  value: Buffer | undefined,
): Partial<FunctionResponse.FunctionResponse> => {
  if (value === undefined) return {};
  if (format === "cloudpickle") return { result: value.toString("base64") };
  return { json_result: Result.getOrElse(decodeJson(value.toString()), () => null) };
};

/** The message first, since that is what people see of it in one line; the traceback after. */
const errorText = ({ kind, type, message, traceback }: CallError): string => {
  const first = kind === "exception" ? (message === "" ? type : `${type}: ${message}`) : message;
  return traceback === "" ? first : `${first}\n\n${traceback}`;
};

/** An answer from what came of a call; `shown` makes an error of what is to be told. */
const answer = (
  request: FunctionRequest,
  { result, value, output }: CallOutcome,
  shown: (text: string) => string,
): FunctionResponse.FunctionResponse => {
  const { instance, error } = result;
  const fields: Partial<FunctionResponse.FunctionResponse> =
    instance === null
      ? { stdout: output }
      : {
          stdout: output,
          instance_id: instance.id,
          instance_info: {
            class_name: instance.class_name,
            created_at: instance.created_at,
            method_calls: instance.method_calls,
            last_used: instance.last_used,
          },
        };
  return error === null
    ? FunctionResponse.success({ ...fields, ...valueFields(request.format, value) })
    : FunctionResponse.failure(shown(errorText(error)), fields);
};

/** Carries out a request, whatever it is; the only place where an error becomes an answer. */
export class RemoteExecutor extends Context.Service<
  RemoteExecutor,
  {
    /** The `input` of a job to its `output`. Interrupting it stops the code. */
    readonly execute: (input: unknown) => Effect.Effect<FunctionResponse.FunctionResponse>;
  }
>()("worker-tetra/execution/RemoteExecutor") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const workspace = yield* Workspace;
      const dependencies = yield* DependencyInstaller;
      const runner = yield* PythonRunner;
      const { mask } = yield* Environment;
      const shown = (error: string) => excerpt(mask(error), LONGEST_ERROR).toWellFormed();

      const carryOut = Effect.fnUntraced(function* (input: unknown) {
        const events = yield* JobEvents;
        const request = yield* decode(input);
        const blobs = yield* payloads(request);
        events.stage?.("workspace");
        yield* Effect.tapError(workspace.ready, ({ message }) =>
          Effect.sync(() => events.ended?.("launch", message)),
        );
        events.stage?.("dependencies");
        const { workspace: place, installs } = yield* dependencies.ensure({
          python: request.dependencies,
          system: request.systemDependencies,
          accelerate: request.accelerateDownloads,
        });
        events.stage?.("running");
        const { chunk } = events;
        const call: Call = {
          meta: metaOf(request, chunk !== undefined),
          blobs,
          workspace: place,
          installs,
          ...(chunk === undefined
            ? {}
            : {
                chunk: (value) =>
                  chunk(FunctionResponse.success(valueFields(request.format, value))),
              }),
        };
        const outcome = yield* Effect.tapError(runner.call(call), (error) =>
          Effect.sync(() => events.ended?.(endOfFailure(error), error.message)),
        );
        events.ended?.(endOf(outcome.result), outcome.result.error?.message ?? "");
        return answer(request, outcome, shown);
      });

      const execute = (input: unknown) =>
        carryOut(input).pipe(
          Effect.catch((error) =>
            Effect.succeed(
              FunctionResponse.failure(
                shown(error.message),
                // What other tools wrote is part of their error's message.
                error._tag === "RunnerCrashed" || error._tag === "CallTimedOut"
                  ? { stdout: error.output }
                  : {},
              ),
            ),
          ),
          Effect.catchDefect((defect) =>
            Effect.as(
              Effect.logError("A defect of the worker itself", defect),
              FunctionResponse.failure(
                `The worker itself failed, which is a defect of it and not of your code: ${shown(String(defect))}. Its log has the details.`,
              ),
            ),
          ),
        );

      return RemoteExecutor.of({ execute });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([PythonRunner.layer, DependencyInstaller.layer, Workspace.layer]),
  );
}
