import {
  Context,
  Duration,
  Effect,
  Exit,
  FileSystem,
  Layer,
  Option,
  Result,
  Schema,
  Scope,
} from "effect";

import { safeFileSystem } from "../platform/files/SafeFileSystem.ts";
import { VolumeProcess } from "../platform/volume/VolumeProcess.ts";
import { Environment } from "../settings/Environment.ts";
import * as Setting from "../settings/Setting.ts";
import type { PreparedWorkspace, WorkspaceError } from "../workspace/PreparedWorkspace.ts";
import { Workspace } from "../workspace/Workspace.ts";
import { makePrestartedProcess } from "./PrestartedProcess.ts";
import { RunnerUnavailable } from "./RunnerError.ts";
import { RunnerProcesses, type RunnerSpawnFailed } from "./RunnerProcess.ts";
import type { AppConfig } from "./RunnerProtocol.ts";
import { BootFailed, configure, type RunnerSession, startProcess } from "./RunnerSession.ts";

const MAX_INSTANCES = Setting.integer({
  name: "WORKER_MAX_INSTANCES",
  doc: "Maximum number of class instances kept between calls. The least recently used one is deleted first.",
  unit: "instances",
  minimum: 1,
  fallback: 64,
});

const INSTANCE_IDLE = Setting.optionalSeconds({
  name: "WORKER_INSTANCE_IDLE",
  doc: "Time after which an unused class instance is deleted.",
});

/** A deployed app that a process serves. */
export interface DeployedAppProcess {
  /** The current directory of its code. */
  readonly folder: string;
  readonly config: AppConfig;
}

type StartFailed = BootFailed | RunnerSpawnFailed;

/** Time between checks of the volume while a process starts there. */
const VOLUME_CHECK_INTERVAL = Duration.seconds(5);

/** Fails a start when the volume that its folder is on does not respond: the process hangs then. */
const whileVolumeResponds = Effect.map(
  VolumeProcess,
  ({ contains, request }) =>
    <A, E, R>(
      directory: string,
      start: Effect.Effect<A, E, R>,
    ): Effect.Effect<A, E | BootFailed, R> => {
      if (!contains(directory)) return start;
      const check = request("files.statfs", { path: directory }, Schema.Unknown);
      return check.pipe(
        Effect.delay(VOLUME_CHECK_INTERVAL),
        Effect.forever,
        Effect.mapError(
          ({ message }) => new BootFailed({ reason: message, output: "", isVolumeFault: true }),
        ),
        Effect.raceFirst(start),
      );
    },
);

/** How the interpreter of a process differs from its venv, which then is broken; undefined if it does not differ. */
const interpreterMismatch = (
  { ready }: RunnerSession,
  prepared: PreparedWorkspace,
): string | undefined => {
  const { prefix, python } = ready;
  return prefix === prepared.prefix && python === prepared.version
    ? undefined
    : `its interpreter is Python ${python} in ${prefix}`;
};

/** Whether a broken venv may be the cause. A signal, a timeout or a full disk does not indicate that. */
const mayBeVenvFault = (error: StartFailed): boolean =>
  error._tag === "RunnerSpawnFailed" || error.exitCode !== undefined;

const isVolumeFault = (error: StartFailed): boolean =>
  error._tag === "BootFailed" && error.isVolumeFault === true;

const unavailableBecause = (error: StartFailed, mask: (text: string) => string) =>
  error._tag === "BootFailed"
    ? new RunnerUnavailable({ reason: error.reason, output: mask(error.output) })
    : new RunnerUnavailable({
        reason: `could not be started (${error.command}: ${error.reason})`,
        output: "",
      });

/** Starts processes with the settings of the worker. */
const makeStarts = Effect.gen(function* () {
  const context = yield* Effect.context<RunnerProcesses | FileSystem.FileSystem>();
  // Without the layer's scope: each runner needs the scope of its launch.
  const services = Context.pick(RunnerProcesses, FileSystem.FileSystem)(context);
  const maxInstances = yield* MAX_INSTANCES.value;
  const instanceIdle = yield* INSTANCE_IDLE.value;
  const prestarted = yield* makePrestartedProcess;

  const start = Effect.fnUntraced(function* (
    python: string,
    { directory, environment, generation }: PreparedWorkspace,
    app?: DeployedAppProcess,
  ) {
    const command = { python, environment, directory: app?.folder ?? directory };
    const waiting = app === undefined ? Option.none() : yield* prestarted.take(command, generation);
    const booting = Option.isSome(waiting) ? waiting.value : yield* startProcess(command);
    return yield* configure(booting, {
      maxInstances,
      instanceIdle,
      ...(app === undefined ? {} : { app: app.config }),
    });
  }, Effect.provideContext(services));

  const prestart = Effect.fn("RunnerLauncher.prestart")(
    ({ python, environment, generation }: PreparedWorkspace, folder: string) =>
      prestarted.start({ python, environment, directory: folder }, generation),
    Effect.catch((error) => Effect.logDebug(`Not started in advance: ${error.message}`)),
    Effect.provideContext(services),
  );

  return { start, prestart };
});

/**
 * Starts runners in the venv of the workspace. If a runner fails to start because the venv is broken, the venv is rebuilt
 * and the start is retried once.
 */
export class RunnerLauncher extends Context.Service<
  RunnerLauncher,
  {
    /** The workspace for runners that are started before their first call. */
    readonly workspace: Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /**
     * Starts an interpreter for the next launch of an app in this workspace and folder, so that the launch is faster.
     * Errors are ignored: the launch will report them.
     */
    readonly prestart: (prepared: PreparedWorkspace, folder: string) => Effect.Effect<void>;
    /** A ready runner that lives as long as the scope, for live requests or for an app. */
    readonly launch: (
      prepared: PreparedWorkspace,
      app?: DeployedAppProcess,
    ) => Effect.Effect<RunnerSession, RunnerUnavailable | WorkspaceError, Scope.Scope>;
  }
>()("worker-tetra/runner/RunnerLauncher") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const workspace = yield* Workspace;
      const { mask } = yield* Environment;
      const { start, prestart } = yield* makeStarts;
      const watched = yield* whileVolumeResponds;

      const unavailable = (error: StartFailed) => unavailableBecause(error, mask);

      /** Whether the same runner starts with the interpreter that the venv was created from. */
      const startsInBase = (prepared: PreparedWorkspace, app?: DeployedAppProcess) =>
        Effect.scoped(start(prepared.basePython, prepared, app)).pipe(
          Effect.as(true),
          Effect.catchTags({
            BootFailed: (error) => Effect.succeed(error.cloudpickleMissing),
            RunnerSpawnFailed: () => Effect.succeed(false),
          }),
        );

      /** Why the venv itself is broken; undefined if nothing indicates that. */
      const findVenvFault = Effect.fnUntraced(function* (
        prepared: PreparedWorkspace,
        outcome: Result.Result<RunnerSession, StartFailed>,
        app?: DeployedAppProcess,
      ) {
        if (Result.isSuccess(outcome)) return interpreterMismatch(outcome.success, prepared);
        const error = outcome.failure;
        return mayBeVenvFault(error) && (yield* startsInBase(prepared, app))
          ? error.message
          : undefined;
      });

      const launch = Effect.fn("RunnerLauncher.launch")(function* (
        prepared: PreparedWorkspace,
        app?: DeployedAppProcess,
      ) {
        const scope = yield* Scope.Scope;
        const attempt = yield* Scope.fork(scope);
        const outcome = yield* Effect.result(
          Scope.provide(
            watched(prepared.directory, start(prepared.python, prepared, app)),
            attempt,
          ),
        );
        if (Result.isFailure(outcome) && isVolumeFault(outcome.failure)) {
          yield* Scope.close(attempt, Exit.void);
          // Falls back to the container's disk.
          const other = yield* workspace.ready;
          return yield* Effect.mapError(start(other.python, other, app), unavailable);
        }
        const fault = yield* findVenvFault(prepared, outcome, app);
        if (fault === undefined) {
          return yield* Effect.mapError(Effect.fromResult(outcome), unavailable);
        }
        yield* Scope.close(attempt, Exit.void);
        // Another call may have rebuilt it in the meantime.
        const current = yield* workspace.ready;
        const rebuilt =
          current.prefix === prepared.prefix ? yield* workspace.rebuild(fault) : current;
        return yield* Effect.mapError(start(rebuilt.python, rebuilt, app), unavailable);
      });

      return RunnerLauncher.of({ workspace: workspace.ready, prestart, launch });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([RunnerProcesses.layer, Workspace.layer, VolumeProcess.layer]),
    Layer.provide(safeFileSystem),
  );
}
