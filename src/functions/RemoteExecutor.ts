import { Context, Effect, Layer } from "effect";

import { DependencyInstaller } from "../dependencies/DependencyInstaller.ts";
import { makeRequestInstaller } from "../dependencies/RequestInstaller.ts";
import type { ResponseLimit, EncodedResponse } from "../domain/EncodedResponse.ts";
import { decode, type FunctionRequest } from "../domain/FunctionRequest.ts";
import type { FunctionResponse } from "../domain/FunctionResponse.ts";
import { JobListener } from "../domain/JobEvents.ts";
import { BackgroundWork } from "../platform/BackgroundWork.ts";
import { outputOf } from "../runner/RunnerError.ts";
import { RunnerPool } from "../runner/RunnerPool.ts";
import { payloads } from "../runner/call/Arguments.ts";
import type { Call } from "../runner/call/Call.ts";
import { callMetaOf } from "../runner/call/FunctionCall.ts";
import { endOf, endOfFailure } from "../runner/call/JobEnds.ts";
import { errorFormat, internalError } from "../settings/ErrorText.ts";
import { LOCAL_LIMIT, responseLimit } from "../settings/ResponseLimits.ts";
import { Workspace } from "../workspace/Workspace.ts";
import { responseOf, responseOfFailure, type ResponseRules, itemOf } from "./FunctionOutcome.ts";

/** Returns a workspace with the dependencies of a request. */
const prepare = Effect.fnUntraced(function* (
  request: FunctionRequest,
  workspace: Workspace["Service"],
  install: Effect.Success<typeof makeRequestInstaller>,
) {
  const { notify } = yield* JobListener;
  notify({ _tag: "StageStarted", stage: "workspace" });
  const prepared = yield* Effect.tapError(workspace.ready, ({ message }) =>
    Effect.sync(() => notify({ _tag: "Ended", end: "workspace", reason: message })),
  );
  notify({ _tag: "StageStarted", stage: "dependencies" });
  return yield* install(request, prepared);
});

/** Runs a call and reports how it ended. */
const runCall = Effect.fnUntraced(function* (runner: RunnerPool["Service"], call: Call) {
  const { notify } = yield* JobListener;
  notify({ _tag: "StageStarted", stage: "running" });
  const outcome = yield* Effect.tapError(runner.call(call), (error) =>
    Effect.sync(() => notify({ _tag: "Ended", end: endOfFailure(error), reason: error.message })),
  );
  const { result } = outcome;
  notify({ _tag: "Ended", end: endOf(result), reason: result.error?.message ?? "" });
  return outcome;
});

/** Runs the function or method of a request. Only this service converts errors to responses. */
export class RemoteExecutor extends Context.Service<
  RemoteExecutor,
  {
    /**
     * Returns the `output` for the `input` of a job, whose JSON text the client wrote as `text`. An interruption stops
     * the code.
     */
    readonly execute: (input: unknown, text?: Uint8Array) => Effect.Effect<FunctionResponse>;
    /** The same, encoded and within WORKER_RESULT_LIMIT. */
    readonly executeEncoded: (input: unknown, text?: Uint8Array) => Effect.Effect<EncodedResponse>;
  }
>()("worker-tetra/functions/RemoteExecutor") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const workspace = yield* Workspace;
      const install = yield* makeRequestInstaller;
      const runner = yield* RunnerPool;
      const { busy } = yield* BackgroundWork;
      const formatError = yield* errorFormat;
      const sentLimit = yield* responseLimit;

      const runRequest = Effect.fnUntraced(function* (
        input: unknown,
        text: Uint8Array | undefined,
        rules: ResponseRules,
      ) {
        const { notify, needsValues } = yield* JobListener;
        const request = yield* decode(input);
        const blobs = yield* payloads(request, text);
        const prepared = yield* prepare(request, workspace, install);
        const outcome = yield* runCall(runner, {
          meta: callMetaOf(request, rules.limit, needsValues),
          blobs,
          workspace: prepared,
          ...(needsValues
            ? { chunk: (value) => notify({ _tag: "ValueYielded", value: itemOf(value) }) }
            : {}),
        });
        return responseOf(request.format, outcome, rules);
      });

      const respond = (input: unknown, text: Uint8Array | undefined, limit: ResponseLimit) => {
        const rules = { limit, formatError };
        return busy(runRequest(input, text, rules)).pipe(
          Effect.catch((error) =>
            Effect.succeed(responseOfFailure(limit, formatError(error.message), outputOf(error))),
          ),
          Effect.catchDefect((defect) =>
            Effect.as(
              Effect.logError("Internal error while running a job", defect),
              responseOfFailure(limit, formatError(internalError(defect))),
            ),
          ),
        );
      };

      return RemoteExecutor.of({
        execute: (input, text) =>
          Effect.map(respond(input, text, LOCAL_LIMIT), (response) => response.toResponse()),
        executeEncoded: (input, text) => respond(input, text, sentLimit),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([
      RunnerPool.layer,
      DependencyInstaller.layer,
      Workspace.layer,
      BackgroundWork.layer,
    ]),
  );
}
