import { Context, Effect, FileSystem, Layer, Option } from "effect";

import { DependencyInstaller } from "../../dependencies/DependencyInstaller.ts";
import type { PythonPackagesError } from "../../dependencies/PythonPackages.ts";
import { makeRequestInstaller } from "../../dependencies/RequestInstaller.ts";
import type { SystemInstallFailed } from "../../dependencies/apt/SystemInstallFailed.ts";
import { safeFileSystem } from "../../platform/files/SafeFileSystem.ts";
import { LOCAL_LIMIT } from "../../settings/ResponseLimits.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import type { Call } from "../call/Call.ts";
import { callMetaOf } from "../call/FunctionCall.ts";
import { readPreload } from "./PreloadRequest.ts";

/** The call that each process runs before its first job. */
export interface PreloadCall {
  /** The value of WORKER_PRELOAD. */
  readonly name: string;
  /** Installs what the call requires, and returns the workspace for it. */
  readonly install: (
    workspace: PreparedWorkspace,
  ) => Effect.Effect<PreparedWorkspace, PythonPackagesError | SystemInstallFailed>;
  readonly call: Pick<Call, "meta" | "blobs">;
}

/** What processes run before their first job. */
export class Preload extends Context.Service<
  Preload,
  { readonly configured: Option.Option<PreloadCall> }
>()("worker-tetra/runner/Preload") {
  /** Fails if WORKER_PRELOAD is invalid. */
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const install = yield* makeRequestInstaller;
      const found = yield* readPreload(yield* FileSystem.FileSystem);
      return Preload.of({
        configured: Option.map(found, ({ name, request, blobs }) => ({
          name,
          install: (workspace) => install(request, workspace),
          call: { meta: callMetaOf(request, LOCAL_LIMIT, false), blobs },
        })),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([DependencyInstaller.layer, safeFileSystem]),
  );
}
