import { Effect, Schedule } from "effect";

import { AppStart, isMachineFault } from "../../apps/AppStart.ts";
import { Fitness } from "../../health/Fitness.ts";
import { jobHealth, MAX_FAILURES_IN_A_ROW } from "../../health/JobHealth.ts";
import { Unfit } from "../../health/Unfit.ts";
import { RunnerPool } from "../../runner/RunnerPool.ts";
import { Workspace } from "../../workspace/Workspace.ts";
import { ReadAhead } from "../../workspace/profile/ReadAhead.ts";

/** Fails if CUDA can't use the GPU; checked in a separate process. */
const checkCuda = Effect.gen(function* () {
  const { python } = yield* (yield* Workspace).ready;
  yield* (yield* Fitness).checkCuda(python);
});

/** Fails only for an unfit machine. Other errors are logged: the first job fails with them too, and reports them. */
const tolerant = <E extends { readonly message: string }, R>(
  effect: Effect.Effect<void, E | Unfit, R>,
) =>
  Effect.catchIf(
    effect,
    (error): error is Exclude<E, Unfit> => !(error instanceof Unfit),
    ({ message }) => Effect.logWarning(`Not ready yet: ${message}`),
  );

/** Refuses to take jobs if Python can't be started: a worker without it would fail every job within milliseconds. */
const ensurePython = <R>(start: Effect.Effect<unknown, { readonly message: string }, R>) =>
  Effect.flatMap(Fitness, ({ refuse }) =>
    start.pipe(
      Effect.tapError(({ message }) => Effect.logWarning(`Could not start Python: ${message}`)),
      Effect.retry({
        schedule: Schedule.exponential("1 second"),
        times: MAX_FAILURES_IN_A_ROW - 1,
      }),
      Effect.catch(({ message }) =>
        refuse(new Unfit({ check: "python", reason: `Python can't be started. ${message}` })),
      ),
      Effect.asVoid,
    ),
  );

/** Starts a Python process before the first job is taken. */
export const ensurePythonStarts = Effect.flatMap(RunnerPool, ({ warmOne }) =>
  ensurePython(warmOne),
);

/** Checks that there is a Python environment before the first job is taken; the app itself starts meanwhile. */
export const ensureWorkspace = Effect.flatMap(Workspace, ({ ready }) => ensurePython(ready));

/**
 * Starts the app. Fails if the machine can't start Python; jobs and requests report the other failures, which are those
 * of the app.
 */
export const ensureAppStarts = Effect.gen(function* () {
  const { ready } = yield* AppStart;
  const { refuse } = yield* Fitness;
  yield* Effect.catchIf(
    ready,
    isMachineFault,
    ({ reason }) => refuse(new Unfit({ check: "python", reason })),
    () => Effect.void,
  );
});

/** Begins to read the files ahead that Python processes will need from a network volume. */
export const readAhead = Effect.flatMap(ReadAhead, ({ read }) => Effect.forkScoped(read));

/** Starts all Python processes. Jobs need not wait for it. */
export const warmAll = Effect.flatMap(RunnerPool, ({ warm }) => tolerant(warm));

/** Checks the GPU if one is required. */
export const checkGpu = Effect.flatMap(Fitness, ({ requiresGpu }) =>
  requiresGpu ? tolerant(checkCuda) : Effect.void,
);

/** Detects a broken machine by the outcomes of its jobs. */
export const machineHealth = Effect.gen(function* () {
  const services = yield* Effect.context<Workspace | Fitness>();
  return yield* jobHealth(Effect.provide(tolerant(checkCuda), services));
});
