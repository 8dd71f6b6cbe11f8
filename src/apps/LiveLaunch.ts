import { Effect, FileSystem, Layer } from "effect";

import { DependencyInstaller } from "../dependencies/DependencyInstaller.ts";
import { makeWithSdk } from "../dependencies/SdkPackage.ts";
import { launchApp } from "../endpoint/AppLauncher.ts";
import { LaunchFailed, maskedFailure } from "../endpoint/Availability.ts";
import { type LaunchLive, LiveApp, type LiveSource } from "../endpoint/LiveApp.ts";
import type { AppOpenFailed } from "../runner/apps/AppOpenFailed.ts";
import { AppRunner } from "../runner/apps/AppRunner.ts";
import type { CallFailed } from "../runner/call/Call.ts";
import { Environment } from "../settings/Environment.ts";
import { Workspace } from "../workspace/Workspace.ts";
import { packageOf } from "./start/ModulePackages.ts";
import { startFailureOf } from "./start/Opening.ts";

/** An error before the code of the source runs. */
const notPrepared =
  (phase: "workspace" | "dependencies") =>
  ({ message }: { readonly message: string }) =>
    new LaunchFailed({
      phase,
      reason: message,
      advice: "The app of the previous source, if there is one, is still served.",
      traceback: "",
      isRetryable: false,
    });

const notServed = ({ resource }: LiveSource, error: AppOpenFailed | CallFailed): LaunchFailed => {
  const { phase, reason, traceback } = startFailureOf(resource, error);
  const missing = error._tag === "AppOpenFailed" ? error.missingModule : undefined;
  return new LaunchFailed({
    phase,
    reason,
    advice:
      missing === undefined
        ? "Correct the code."
        : `Add ${packageOf(missing)} to the dependencies of ${resource}.`,
    traceback,
    isRetryable: error._tag === "RunnerCrashed",
  });
};

/** Makes a function that installs the dependencies of a live `@app.api` resource and serves it. */
const makeLiveLaunch = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const workspace = yield* Workspace;
  const dependencies = yield* DependencyInstaller;
  const withSdk = yield* makeWithSdk;
  const runner = yield* AppRunner;
  const { mask } = yield* Environment;

  const launch = Effect.fn("LiveLaunch")(function* (source: LiveSource) {
    const ready = yield* Effect.mapError(workspace.ready, notPrepared("workspace"));
    const needed = {
      python: yield* withSdk(source.source, source.dependencies ?? [], ready),
      system: source.system_dependencies ?? [],
      accelerate: true,
    };
    const prepared = yield* Effect.mapError(
      dependencies.ensure(needed, ready),
      notPrepared("dependencies"),
    );
    const live = { code: source.source, resource: source.resource };
    return yield* launchApp(
      (listening) => runner.serveLive({ ...listening, source: live, workspace: prepared }),
      [],
    ).pipe(Effect.mapError((error) => notServed(source, error)));
  });

  const launchLive: LaunchLive = (source) =>
    Effect.provideService(
      Effect.mapError(launch(source), maskedFailure(mask)),
      FileSystem.FileSystem,
      files,
    );
  return launchLive;
});

/** Apps of development sessions, in separate Python processes. */
export const liveAppLayer = LiveApp.layer(makeLiveLaunch).pipe(
  Layer.provide([AppRunner.layer, DependencyInstaller.layer, Workspace.layer]),
);
