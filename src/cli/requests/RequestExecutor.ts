import { Context, Effect, Layer } from "effect";

import type { FunctionResponse } from "../../domain/FunctionResponse.ts";
import { RemoteExecutor } from "../../functions/RemoteExecutor.ts";
import type { FileRequest } from "./RequestFile.ts";

/** Runs the requests of files. */
export class RequestExecutor extends Context.Service<
  RequestExecutor,
  {
    readonly execute: (
      request: Pick<FileRequest, "input" | "inputText">,
    ) => Effect.Effect<FunctionResponse>;
  }
>()("worker-tetra/cli/requests/RequestExecutor") {
  /** Runs live requests, which contain their source code. */
  static readonly layerLive = Layer.effect(
    this,
    Effect.map(RemoteExecutor, (executor) => ({
      execute: ({ input, inputText }) => executor.execute(input, inputText),
    })),
  );
}
