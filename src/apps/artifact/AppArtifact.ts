import { Context, type Effect } from "effect";

import type { AppStartFailed } from "../AppStartFailed.ts";
import type { App } from "../manifest/App.ts";

/** The deployed app of this worker. */
export class AppArtifact extends Context.Service<
  AppArtifact,
  {
    /**
     * Waits for the archive, unpacks it if that has not been done, and reads the manifest. Can be called again to look
     * for a new archive.
     */
    readonly locate: Effect.Effect<App, AppStartFailed>;
  }
>()("worker-tetra/apps/artifact/AppArtifact") {}
