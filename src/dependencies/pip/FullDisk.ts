import { Effect } from "effect";

import { DiskFault } from "../../platform/files/DiskFault.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import { Workspace } from "../../workspace/Workspace.ts";
import { PythonInstallFailed } from "./PythonInstallFailed.ts";
import { buildNew } from "./VenvChanges.ts";

/** Whether an install failed for lack of space, so that it may work without a cache or on another disk. */
export const isFull = (error: unknown): boolean =>
  (error instanceof PythonInstallFailed && error.reason === "full") ||
  (error instanceof DiskFault && (error.code === "ENOSPC" || error.code === "EDQUOT"));

/**
 * Installs into a new venv on the container's own disk. If that is full too, the error shows how full the disks are, and
 * with what.
 */
export const ownDiskFallback = Effect.gen(function* () {
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
      `The packages are on the container's own disk, since the volume is full, and have to be installed anew in the next container. Free some space or enlarge the volume.\n${usage}`,
    );
    return prepared;
  });
});
