import { Context, Effect, type FileSystem } from "effect";

import { DependencyInstaller } from "../../dependencies/DependencyInstaller.ts";
import type { AppOpenFailed } from "../../runner/apps/AppOpenFailed.ts";
import type { AppOpened } from "../../runner/apps/AppProcess.ts";
import { AppRunner } from "../../runner/apps/AppRunner.ts";
import type { CallFailed } from "../../runner/call/Call.ts";
import { endOfException, endOfFailure } from "../../runner/call/JobEnds.ts";
import * as Setting from "../../settings/Setting.ts";
import { installedPackages } from "../../venv/InstalledPackages.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { AppStartFailed, startFailed, TRY_AGAIN, withoutStop } from "../AppStartFailed.ts";
import { lastOutputOf } from "../LastOutput.ts";
import type { ExpectedApp } from "../artifact/AppArtifact.ts";
import type { App } from "../manifest/App.ts";
import { packageOf, wouldReplaceTorch } from "./ModulePackages.ts";

const MAX_RECOVERIES = Setting.integer({
  name: "MAX_IMPORT_RECOVERY_ATTEMPTS",
  doc: "Maximum number of missing Python modules of a deployed app that are installed from the package index.",
  unit: "modules",
  minimum: 0,
  fallback: 3,
});

/** Environment variables of the app's process, in place of those of the workspace. */
export const AppVariables = Context.Reference<Readonly<Record<string, string>>>(
  "worker-tetra/apps/AppVariables",
  { defaultValue: () => ({}) },
);

/** The failure of the user's code, or of its process. */
export const startFailureOf = (name: string, error: AppOpenFailed | CallFailed): AppStartFailed => {
  if (error._tag === "AppOpenFailed") {
    const { phase, type, message, traceback, missingModule } = error;
    return new AppStartFailed({
      phase,
      reason: `${phase === "import" ? "Importing" : "Constructing"} ${name} failed: ${type}${message === "" ? "" : `: ${withoutStop(message)}`}`,
      advice:
        missingModule === undefined
          ? "Correct the code and deploy it again."
          : `Add ${packageOf(missingModule)} to the dependencies of ${name} and deploy it again.`,
      traceback,
      end: endOfException(type, message),
    });
  }
  return new AppStartFailed({
    phase: "import",
    reason: `${name} could not be started. ${withoutStop(error.message)}`,
    advice: TRY_AGAIN,
    traceback: lastOutputOf(error),
    end: endOfFailure(error),
  });
};

/** Installs packages that are needed to open an app. */
const makeInstaller = Effect.gen(function* () {
  const { ensure } = yield* DependencyInstaller;

  const installSystem = (
    name: string,
    packages: ReadonlyArray<string>,
    prepared: PreparedWorkspace,
  ) =>
    Effect.mapError(
      ensure({ python: [], system: packages, accelerate: true }, prepared),
      ({ message }) =>
        startFailed(
          "system",
          `The system dependencies of ${name} can't be installed. ${withoutStop(message)}`,
          "Correct the names of the packages, or use an image that has them.",
        ),
    );

  /** Installs the package of a missing module; `failure` is the failure without it. */
  const installModule = Effect.fnUntraced(function* (
    module: string,
    prepared: PreparedWorkspace,
    failure: AppStartFailed,
  ) {
    const wanted = packageOf(module);
    if (wouldReplaceTorch(wanted, yield* installedPackages(prepared))) {
      return yield* new AppStartFailed({
        ...failure,
        advice: `Use an image that has ${wanted}: installing it would replace the image's PyTorch.`,
      });
    }
    yield* Effect.logWarning(
      `The app does not contain the module ${module}; installing ${wanted} from the package index. ${failure.advice}`,
    );
    return yield* Effect.mapError(
      ensure({ python: [wanted], system: [], accelerate: true }, prepared),
      ({ message }) =>
        new AppStartFailed({
          ...failure,
          reason: `${failure.reason}. ${withoutStop(message)}`,
        }),
    );
  });

  return { installSystem, installModule };
});

/** What was installed since an app was first opened. */
interface Installed {
  readonly modules: ReadonlyArray<string>;
  readonly hasSystem: boolean;
}

/**
 * Makes a function that imports and constructs an app. Installs packages that turn out to be missing, and opens the
 * app again with them.
 */
export const makeAppOpening = Effect.gen(function* () {
  const runner = yield* AppRunner;
  const variables = yield* AppVariables;
  const maxRecoveries = yield* MAX_RECOVERIES.value;
  const { installSystem, installModule } = yield* makeInstaller;

  const environmentOf = (name: string, workspace: PreparedWorkspace) => ({
    FLASH_RESOURCE_NAME: name,
    ...workspace.environment,
    ...variables,
  });

  const open = (
    app: App,
    workspace: PreparedWorkspace,
    { modules, hasSystem }: Installed,
  ): Effect.Effect<AppOpened, AppStartFailed, FileSystem.FileSystem> => {
    const { resource, folder, path, maxConcurrency: concurrency } = app;
    const { name } = resource;
    const environment = environmentOf(name, workspace);

    const recover = Effect.fnUntraced(function* (error: AppOpenFailed) {
      const { missingModule: missing, systemDependencies } = error;
      const failure = startFailureOf(name, error);
      if (missing !== undefined && !modules.includes(missing) && modules.length < maxRecoveries) {
        const extended = yield* installModule(missing, workspace, failure);
        return yield* open(app, extended, { modules: [...modules, missing], hasSystem });
      }
      if (systemDependencies.length === 0 || hasSystem) return yield* failure;
      // The code may have failed without them.
      const extended = yield* installSystem(name, systemDependencies, workspace);
      return yield* open(app, extended, { modules, hasSystem: true });
    });

    return Effect.catch(
      runner.open({
        resource,
        folder,
        path,
        workspace: { ...workspace, environment },
        concurrency,
      }),
      (error) =>
        error._tag === "AppOpenFailed" ? recover(error) : Effect.fail(startFailureOf(name, error)),
    );
  };

  return {
    installSystem,
    /** Starts the interpreter for `open` while the app is located. */
    prestart: ({ resource, folder }: ExpectedApp, workspace: PreparedWorkspace) =>
      runner.prestart({ ...workspace, environment: environmentOf(resource, workspace) }, folder),
    open: (app: App, prepared: PreparedWorkspace) =>
      open(app, prepared, { modules: [], hasSystem: false }),
  };
});
