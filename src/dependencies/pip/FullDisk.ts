import { Effect } from "effect";

import { DiskFault } from "../../platform/files/DiskFault.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import { Workspace } from "../../workspace/Workspace.ts";
import { PythonInstallFailed } from "./PythonInstallFailed.ts";
import { buildNew } from "./VenvChanges.ts";

/** Whether an install failed because a disk is full, so that it may succeed without the cache or on another disk. */
export const isFull = (error: unknown): boolean =>
  (error instanceof PythonInstallFailed && error.reason === "full") ||
  (error instanceof DiskFault && (error.code === "ENOSPC" || error.code === "EDQUOT"));

/**
 * Installs into a new venv on the container's disk. If that is full too, the error contains the disk usage.
 */
export const containerDiskFallback = Effect.gen(function* () {
  const workspace = yield* Workspace;
  const venvs = yield* VenvBuilder;

  return Effect.fnUntraced(function* (requirements: ReadonlyArray<string>) {
    const usage = yield* workspace.usage;
    const before = yield* venvs.requirements((yield* workspace.ready).venv);
    const prepared = yield* buildNew(requirements, before, workspace.fallBackToOwnDisk).pipe(
      Effect.mapError((error) =>
        isFull(error)
          ? new PythonInstallFailed({ requirements, reason: "full", output: usage })
          : error,
      ),
    );
    yield* Effect.logWarning(
      `The volume is full: installed the packages on the container's disk. The next container has to install them again. Free some space or enlarge the volume.\n${usage}`,
    );
    return prepared;
  });
});
