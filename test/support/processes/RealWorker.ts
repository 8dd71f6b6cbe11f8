import { NodeServices } from "@effect/platform-node";
import { Effect, Layer } from "effect";
import { inject } from "vitest";

import type { FunctionResponse } from "../../../src/domain/FunctionResponse.ts";
import { RemoteExecutor } from "../../../src/functions/RemoteExecutor.ts";
import { RunnerPool } from "../../../src/runner/RunnerPool.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { functionInput, methodInput } from "../values/JobInputs.ts";

/** Environment variables of a worker in the workspace that all tests share. */
export const realEnvironment = (settings: Readonly<Record<string, string>> = {}) => ({
  ...process.env,
  RUNPOD_VOLUME_PATH: "/nonexistent",
  WORKER_WORKSPACE_PATH: inject("workspace"),
  ...settings,
});

/** The complete worker with real Python, as in `run` and `start`. */
export const realWorker = (settings?: Readonly<Record<string, string>>) =>
  Layer.mergeAll(RemoteExecutor.layer, RunnerPool.layer).pipe(
    Layer.provide(Environment.layerOf(realEnvironment(settings))),
    Layer.provide(NodeServices.layer),
  );

/** Calls a function with JSON values. */
export const call = Effect.fnUntraced(function* (
  code: string,
  name: string,
  args: ReadonlyArray<unknown> = [],
  more: Readonly<Record<string, unknown>> = {},
): Effect.fn.Return<FunctionResponse, never, RemoteExecutor> {
  const executor = yield* RemoteExecutor;
  return yield* executor.execute(functionInput(code, args, { function_name: name, ...more }));
});

/** Calls a method of an instance with JSON values. */
export const callMethod = Effect.fnUntraced(function* (
  code: string,
  name: string,
  instance: string,
  method: string,
  args: ReadonlyArray<unknown> = [],
  more: Readonly<Record<string, unknown>> = {},
): Effect.fn.Return<FunctionResponse, never, RemoteExecutor> {
  const executor = yield* RemoteExecutor;
  return yield* executor.execute(methodInput(code, name, instance, method, args, more));
});
