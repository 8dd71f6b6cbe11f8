import { Effect, type Semaphore } from "effect";

import { Environment } from "../../settings/Environment.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { RunnerLauncher } from "../RunnerLauncher.ts";
import { timeLimits } from "../call/CallExchange.ts";
import type { RunnerContext } from "../call/CallSteps.ts";
import { makeIdleImports } from "../imports/IdleImports.ts";
import { makePreloader } from "../preload/Preloader.ts";
import { type LiveProcess, makeRunnerState } from "./RunnerState.ts";

/**
 * Makes the process of a runner ready for calls: starts it, runs WORKER_PRELOAD, and imports modules while it is idle.
 * Calls hold the permit of the semaphore.
 */
export const makeReadiness = Effect.fnUntraced(function* (semaphore: Semaphore.Semaphore) {
  const launcher = yield* RunnerLauncher;
  const { mask } = yield* Environment;
  const limits = yield* timeLimits;
  const state = yield* makeRunnerState;
  const idleImports = yield* makeIdleImports;
  const scope = yield* Effect.scope;

  const ensureProcess = Effect.fnUntraced(function* (workspace: PreparedWorkspace) {
    const before = state.process();
    const process = yield* state.ensureProcess(workspace);
    if (process !== before) idleImports.watch(process);
    return process;
  });

  /** Starts a process if there is none. A process of another venv is replaced only by the next call. */
  const running = Effect.gen(function* () {
    const process = state.process();
    if (process?.hasEnded === false) return process;
    return yield* ensureProcess(yield* launcher.workspace);
  });

  const importModules = (process: LiveProcess): Effect.Effect<void> =>
    idleImports
      .run(process, semaphore.withPermitsIfAvailable(1))
      .pipe(Effect.flatMap((hasEnded) => (hasEnded ? respawn : Effect.void)));

  const warm = Effect.suspend(() =>
    preloader.isConfigured && state.process()?.isPreloaded !== true
      ? Effect.flatMap(launcher.workspace, (workspace) => preloader.ensure(workspace))
      : running,
  ).pipe(
    semaphore.withPermit,
    Effect.flatMap((process) => Effect.forkIn(importModules(process), scope)),
    Effect.asVoid,
  );
  const respawn = warm.pipe(Effect.ignore, Effect.forkIn(scope), Effect.asVoid);
  const context: RunnerContext = { state, limits, mask, respawn };
  const preloader = yield* makePreloader(context, ensureProcess);

  return {
    context,
    preloader,
    /** Starts the process; the modules are imported after WORKER_PRELOAD. */
    start: preloader.isConfigured ? Effect.asVoid(semaphore.withPermit(running)) : warm,
    warm,
  };
});
