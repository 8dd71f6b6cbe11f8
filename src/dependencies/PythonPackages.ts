import { dirname, join } from "node:path";

import { Context, Effect, Layer, Option, Semaphore } from "effect";

import { type LockTimeout, BlockingLock } from "../platform/BlockingLock.ts";
import type { LockUnavailable } from "../platform/FileLock.ts";
import type { DiskFault } from "../platform/files/DiskFault.ts";
import { VenvBuilder } from "../venv/VenvBuilder.ts";
import type { UvUnavailable } from "../venv/uv/UvInstallation.ts";
import type { PreparedWorkspace, WorkspaceError } from "../workspace/PreparedWorkspace.ts";
import { Workspace } from "../workspace/Workspace.ts";
import { INSTALL_TIMEOUT } from "./InstallTimeout.ts";
import { pythonRequirements, type RequirementRejected } from "./Requirement.ts";
import { isFull, ownDiskFallback } from "./pip/FullDisk.ts";
import { installation } from "./pip/Installation.ts";
import { Pip } from "./pip/Pip.ts";
import { PythonInstallFailed } from "./pip/PythonInstallFailed.ts";
import { satisfiedLists } from "./pip/SatisfiedLists.ts";

export type PythonPackagesError =
  | RequirementRejected
  | PythonInstallFailed
  | UvUnavailable
  | DiskFault
  | LockTimeout
  | LockUnavailable
  | WorkspaceError;

/**
 * Installs Python packages with uv. Packages are only added to the current virtual environment; a list that would
 * change or remove a package is installed into another one, so that nothing changes under a running job.
 */
export class PythonPackages extends Context.Service<
  PythonPackages,
  {
    /** Returns the workspace that satisfies the requirements: the given one if nothing had to be installed. */
    readonly ensure: (
      requirements: ReadonlyArray<string>,
      prepared: PreparedWorkspace,
    ) => Effect.Effect<PreparedWorkspace, PythonPackagesError>;
  }
>()("worker-tetra/dependencies/PythonPackages") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const workspace = yield* Workspace;
      const lock = yield* BlockingLock;
      const timeout = yield* INSTALL_TIMEOUT.value;
      const satisfied = yield* satisfiedLists;
      const { foresee, install } = yield* installation;
      const installOnOwnDisk = yield* ownDiskFallback;
      const { withPermit: oneAtATime } = Semaphore.makeUnsafe(1);

      /** Installs under the lock of the workspace, unless nothing is missing or another job has installed it meanwhile. */
      const installLocked = Effect.fn("PythonPackages.install")(function* (
        requirements: ReadonlyArray<string>,
        cache: boolean,
      ) {
        const prepared = yield* workspace.ready;
        const foreseen = yield* foresee(prepared, requirements, { cache });
        if (Option.exists(foreseen, ({ plan }) => plan === "nothing")) {
          return yield* satisfied.remember(requirements, prepared);
        }
        const settled = Effect.flatMap(workspace.ready, (current) =>
          satisfied.workspaceFor(requirements, current),
        );
        const file = join(dirname(prepared.prefix), ".install.lock");
        const acquired = yield* lock.acquireUnless(file, settled, timeout);
        if (acquired._tag === "NotNeeded") return acquired.value;
        const { descriptor } = acquired.lock;
        const provided = yield* install(requirements, foreseen, { cache, descriptor });
        return yield* satisfied.remember(requirements, provided);
      }, Effect.scoped);

      /** Where a disk is full: without the cache, then on the container's own disk. */
      const installSomewhere = (
        requirements: ReadonlyArray<string>,
      ): Effect.Effect<PreparedWorkspace, PythonPackagesError> =>
        installLocked(requirements, true).pipe(
          Effect.catchIf(isFull, ({ message }) =>
            Effect.logWarning(`${message}\nIt is tried again without the cache.`).pipe(
              Effect.andThen(installLocked(requirements, false)),
            ),
          ),
          Effect.catchIf(isFull, () =>
            Effect.flatMap(installOnOwnDisk(requirements), (built) =>
              satisfied.remember(requirements, built),
            ),
          ),
        );

      const ensure = Effect.fn("PythonPackages.ensure")(function* (
        names: ReadonlyArray<string>,
        prepared: PreparedWorkspace,
      ) {
        const requirements = yield* pythonRequirements(names);
        if (requirements.length === 0) return prepared;
        const known = yield* satisfied.workspaceFor(requirements, prepared);
        if (Option.isSome(known)) return known.value;
        return yield* oneAtATime(
          Effect.timeoutOrElse(installSomewhere(requirements), {
            duration: timeout,
            orElse: () =>
              Effect.fail(new PythonInstallFailed({ requirements, reason: "late", output: "" })),
          }),
        );
      });

      return PythonPackages.of({ ensure });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([Workspace.layer, VenvBuilder.layer, BlockingLock.layer, Pip.layer]),
  );
}
