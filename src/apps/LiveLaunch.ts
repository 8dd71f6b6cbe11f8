import { Effect, FileSystem, Layer } from "effect";

import { DependencyInstaller } from "../dependencies/DependencyInstaller.ts";
import { lastLines } from "../dependencies/ToolOutput.ts";
import { launchApp } from "../endpoint/AppLauncher.ts";
import { LaunchFailed } from "../endpoint/Availability.ts";
import { type LaunchLive, LiveApp, type LiveSource } from "../endpoint/LiveApp.ts";
import type { AppOpenFailed } from "../runner/apps/AppOpenFailed.ts";
import { AppRunner } from "../runner/apps/AppRunner.ts";
import type { CallFailed } from "../runner/call/Call.ts";
import { Environment } from "../settings/Environment.ts";
import { Workspace } from "../workspace/Workspace.ts";

/** The number of lines of a crashed process's output in the error. */
const MAX_OUTPUT_LINES = 30;

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
  if (error._tag === "AppOpenFailed") {
    const { phase, type, message, traceback, missingModule } = error;
    return new LaunchFailed({
      phase,
      reason: `${phase === "import" ? "Importing" : "Constructing"} ${resource} failed: ${type}: ${message}`,
      advice:
        missingModule === undefined
          ? "Correct the code."
          : `Add the package of the module ${missingModule} to the dependencies of ${resource}.`,
      traceback,
      isRetryable: false,
    });
  }
  return new LaunchFailed({
    phase: "serve",
    reason: error.message,
    advice: "Correct the code.",
    traceback: error._tag === "RunnerCrashed" ? lastLines(error.output, MAX_OUTPUT_LINES) : "",
    isRetryable: error._tag === "RunnerCrashed",
  });
};

/** Makes a function that installs the dependencies of a live `@app.api` resource and serves it. */
const makeLiveLaunch = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const workspace = yield* Workspace;
  const dependencies = yield* DependencyInstaller;
  const runner = yield* AppRunner;
  const { mask } = yield* Environment;

  const launch = Effect.fn("LiveLaunch")(function* (source: LiveSource) {
    const needed = {
      python: source.dependencies ?? [],
      system: source.system_dependencies ?? [],
      accelerate: true,
    };
    const prepared = yield* Effect.mapError(workspace.ready, notPrepared("workspace")).pipe(
      Effect.flatMap((ready) =>
        Effect.mapError(dependencies.ensure(needed, ready), notPrepared("dependencies")),
      ),
    );
    const live = { code: source.source, resource: source.resource };
    return yield* launchApp(
      (listening) => runner.serveLive({ ...listening, source: live, workspace: prepared }),
      [],
    ).pipe(Effect.mapError((error) => notServed(source, error)));
  });

  const masked = ({ phase, reason, advice, traceback, isRetryable }: LaunchFailed) =>
    new LaunchFailed({
      phase,
      reason: mask(reason),
      advice,
      traceback: mask(traceback),
      isRetryable,
    });

  const launchLive: LaunchLive = (source) =>
    Effect.provideService(Effect.mapError(launch(source), masked), FileSystem.FileSystem, files);
  return launchLive;
});

/** Apps of development sessions, in Python processes of their own. */
export const liveAppLayer = LiveApp.layer(makeLiveLaunch).pipe(
  Layer.provide([AppRunner.layer, DependencyInstaller.layer, Workspace.layer]),
);
