import { Effect, Layer, Option } from "effect";

import { AppHandler } from "../../apps/AppHandler.ts";
import { AppStart } from "../../apps/AppStart.ts";
import { startFailed } from "../../apps/AppStartFailed.ts";
import { AppArtifact, openAppFolder } from "../../apps/artifact/AppArtifact.ts";
import type { App } from "../../apps/manifest/App.ts";
import { listResources, readApp } from "../../apps/manifest/AppManifest.ts";
import { AppVariables } from "../../apps/start/Opening.ts";
import { DependencyInstaller } from "../../dependencies/DependencyInstaller.ts";
import { safeFileSystem } from "../../platform/files/SafeFileSystem.ts";
import { AppRunner } from "../../runner/apps/AppRunner.ts";
import { Workspace } from "../../workspace/Workspace.ts";

export interface LocalAppOptions {
  /** The archive or the folder of a deployed app. */
  readonly path: string;
  readonly resource: Option.Option<string>;
}

/**
 * The named resource of an app on this machine, or else all of them. An archive is unpacked into a private folder, which
 * is removed when the scope closes.
 */
export const localApps = Effect.fn("LocalApps.read")(function* ({
  path,
  resource,
}: LocalAppOptions) {
  const folder = yield* openAppFolder(path);
  const names = Option.isSome(resource)
    ? [resource.value]
    : (yield* listResources(folder)).map(({ name }) => name);
  if (names.length === 0) {
    return yield* startFailed("locate", `The app ${path} has no resources`, "Build it again.");
  }
  return yield* Effect.forEach(names, (name) => readApp(folder, name));
});

/** The services that start an app of this machine and run its jobs; each app has its own Python processes. */
export const localAppLayer = (app: App, variables: Readonly<Record<string, string>>) =>
  Layer.fresh(
    AppHandler.layerNoDeps.pipe(
      Layer.provideMerge(AppStart.layerNoDeps),
      Layer.provideMerge(AppRunner.layer),
      Layer.provide([
        Layer.succeed(AppArtifact, {
          locate: Effect.succeed(app),
          expected: Effect.succeedNone,
        }),
        Layer.succeed(AppVariables, variables),
        DependencyInstaller.layer,
        Workspace.layer,
        safeFileSystem,
      ]),
    ),
  );
