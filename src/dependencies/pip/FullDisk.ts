import { Effect, Fiber } from "effect";

import { isFullDisk } from "../../platform/files/DiskFault.ts";
import { needsRetryWithoutCache } from "../../venv/InstallCheck.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import { Workspace } from "../../workspace/Workspace.ts";
import type { PipOptions } from "./Pip.ts";
import { PythonInstallFailed } from "./PythonInstallFailed.ts";
import { buildNew } from "./VenvChanges.ts";

/** Whether an install failed because a disk is full, so that it may succeed without the cache or on another disk. */
export const isFull = (error: unknown): boolean =>
  (error instanceof PythonInstallFailed && error.reason === "full") || isFullDisk(error);

/** Repeats an install without uv's cache, which may be on a full volume, if that may help. */
export const retryingWithoutCache = <A, E extends { readonly message: string }, R>(
  install: (options: PipOptions) => Effect.Effect<A, E, R>,
): Effect.Effect<A, E, R> =>
  Effect.catchIf(
    install({ cache: true }),
    (error) => isFull(error) || needsRetryWithoutCache(error),
    ({ message }) =>
      Effect.andThen(
        Effect.logInfo(`${message}\nRetrying without uv's cache.`),
        install({ cache: false }),
      ),
  );

/**
 * Installs into a new venv on the container's disk. If that is full too, the error contains the disk usage.
 */
export const containerDiskFallback = Effect.gen(function* () {
  const workspace = yield* Workspace;
  const venvs = yield* VenvBuilder;

  return Effect.fnUntraced(function* (
    requirements: ReadonlyArray<string>,
    reason: { readonly message: string },
  ) {
    // Measuring takes seconds on a network volume.
    const measuring = yield* Effect.forkChild(workspace.usage);
    const before = yield* venvs.requirements((yield* workspace.ready).venv);
    const prepared = yield* buildNew(requirements, before, workspace.fallBackToOwnDisk).pipe(
      Effect.catchIf(
        isFull,
        Effect.fnUntraced(function* () {
          const output = yield* Fiber.join(measuring);
          return yield* new PythonInstallFailed({ requirements, reason: "full", output });
        }),
      ),
    );
    yield* Effect.logWarning(
      `${reason.message}\nThe volume is full: installed the packages on the container's disk. The next container has to install them again. Free some space or enlarge the volume.\n${yield* Fiber.join(measuring)}`,
    );
    return prepared;
  });
});
