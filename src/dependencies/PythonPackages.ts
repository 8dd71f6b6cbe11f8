import { Context, type Duration, Effect, Layer, Option, Semaphore } from "effect";

import type { DiskFault } from "../platform/files/DiskFault.ts";
import type { LockUnavailable } from "../platform/locks/FileLock.ts";
import { InstallCheck } from "../venv/InstallCheck.ts";
import { VenvBuilder } from "../venv/VenvBuilder.ts";
import { Leases } from "../venv/leases/Leases.ts";
import type { LockTimeout } from "../venv/leases/LockTimeout.ts";
import type { UvUnavailable } from "../venv/uv/UvInstallation.ts";
import type { PreparedWorkspace, WorkspaceError } from "../workspace/PreparedWorkspace.ts";
import { Workspace } from "../workspace/Workspace.ts";
import { INSTALL_TIMEOUT } from "./InstallTimeout.ts";
import { pythonRequirements, type RequirementRejected } from "./Requirement.ts";
import { containerDiskFallback, isFull, retryingWithoutCache } from "./pip/FullDisk.ts";
import { installation } from "./pip/Installation.ts";
import { LocalInstalls } from "./pip/LocalInstalls.ts";
import { Pip, type PipOptions } from "./pip/Pip.ts";
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

const within = <A, E, R>(
  timeout: Duration.Duration,
  requirements: ReadonlyArray<string>,
  install: Effect.Effect<A, E, R>,
) =>
  Effect.timeoutOrElse(install, {
    duration: timeout,
    orElse: () =>
      Effect.fail(new PythonInstallFailed({ requirements, reason: "timeout", output: "" })),
  });

/**
 * Installs Python packages with uv. Packages are only added to the current venv. A list that would change or remove a
 * package is installed into another venv, so that no package changes while a job uses it.
 */
export class PythonPackages extends Context.Service<
  PythonPackages,
  {
    /** Returns a workspace that satisfies the requirements: the given one if it already does. */
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
      const leases = yield* Leases;
      const timeout = yield* INSTALL_TIMEOUT.value;
      const satisfied = yield* satisfiedLists;
      const { planEarly, install } = yield* installation;
      const installOnContainerDisk = yield* containerDiskFallback;
      const local = yield* LocalInstalls;
      const { withPermit: oneAtATime } = Semaphore.makeUnsafe(1);

      /** Installs with the install lease, unless no package is missing or another job installs them in the meantime. */
      const installLocked = Effect.fn("PythonPackages.install")(function* (
        requirements: ReadonlyArray<string>,
        options: PipOptions,
      ) {
        const prepared = yield* workspace.ready;
        const earlyPlan = yield* planEarly(prepared, requirements, options);
        if (Option.exists(earlyPlan, ({ plan }) => plan === "nothing")) {
          return yield* satisfied.remember(requirements, prepared);
        }
        return yield* leases.useUnless({
          place: prepared,
          lock: "install",
          minWait: timeout,
          find: Effect.flatMap(workspace.ready, (current) =>
            satisfied.workspaceFor(requirements, current),
          ),
          use: (generation) =>
            Effect.flatMap(install(requirements, earlyPlan, generation, options), (provided) =>
              satisfied.remember(requirements, provided),
            ),
        });
      });

      /** If the disk is full, retries without the cache, and then on the container's disk. */
      const installWithFallbacks = (
        requirements: ReadonlyArray<string>,
      ): Effect.Effect<PreparedWorkspace, PythonPackagesError> =>
        retryingWithoutCache((options) => installLocked(requirements, options)).pipe(
          Effect.catchIf(isFull, (error) =>
            Effect.flatMap(installOnContainerDisk(requirements, error), (built) =>
              satisfied.remember(requirements, built),
            ),
          ),
        );

      const installMissing = (requirements: ReadonlyArray<string>) =>
        Effect.flatMap(local.ensure(requirements), (copy) =>
          Option.isNone(copy)
            ? installWithFallbacks(requirements)
            : satisfied.remember(requirements, copy.value),
        );

      const ensure = Effect.fn("PythonPackages.ensure")(function* (
        names: ReadonlyArray<string>,
        prepared: PreparedWorkspace,
      ) {
        const requirements = yield* pythonRequirements(names);
        if (requirements.length === 0) return prepared;
        const known = yield* satisfied.workspaceFor(requirements, prepared);
        if (Option.isSome(known)) return known.value;
        return yield* oneAtATime(within(timeout, requirements, installMissing(requirements)));
      });
      return PythonPackages.of({ ensure });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([
      Workspace.layer,
      VenvBuilder.layer,
      InstallCheck.layer,
      Leases.layer,
      Pip.layer,
      LocalInstalls.layer,
    ]),
  );
}
