import { Context, Effect, Layer } from "effect";

import type { PreparedWorkspace } from "../workspace/PreparedWorkspace.ts";
import { Workspace } from "../workspace/Workspace.ts";
import { PythonPackages, type PythonPackagesError } from "./PythonPackages.ts";
import { SystemPackages } from "./SystemPackages.ts";
import { bothEnds } from "./ToolOutput.ts";
import type { SystemInstallFailed } from "./apt/SystemInstallFailed.ts";

export interface Dependencies {
  /** PEP 508 requirements. */
  readonly python: ReadonlyArray<string>;
  /** Names of Debian packages. */
  readonly system: ReadonlyArray<string>;
  /** Whether to install both kinds at the same time. */
  readonly accelerate: boolean;
}

/** Error messages of build tools without a compiler. */
const NO_COMPILER =
  /(?:command|execute) '?(?:[\w.-]*-)?(?:gcc|g\+\+|cc|c\+\+)'? (?:failed: )?No such file|linker `cc` not found|No CMAKE_C(?:XX)?_COMPILER|Unknown compiler\(s\)|unable to execute '[\w.-]*(?:gcc|cc)'/i;

/** Installs what a job needs before its code runs. */
export class DependencyInstaller extends Context.Service<
  DependencyInstaller,
  {
    /** Installs missing packages, and returns the workspace for the job: the given one if no package was missing. */
    readonly ensure: (
      needed: Dependencies,
      prepared: PreparedWorkspace,
    ) => Effect.Effect<PreparedWorkspace, PythonPackagesError | SystemInstallFailed>;
  }
>()("worker-tetra/dependencies/DependencyInstaller") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const workspace = yield* Workspace;
      const python = yield* PythonPackages;
      const system = yield* SystemPackages;

      /** Installs a compiler and retries if a package must be compiled and there is no compiler. */
      const pythonWithCompiler = (
        requirements: ReadonlyArray<string>,
        prepared: PreparedWorkspace,
      ) =>
        python.ensure(requirements, prepared).pipe(
          Effect.catchIf(
            (error) =>
              error._tag === "PythonInstallFailed" &&
              error.reason === "unbuildable" &&
              NO_COMPILER.test(bothEnds(error.output)),
            (error) =>
              Effect.logInfo("A package needs a compiler; installing build-essential").pipe(
                Effect.andThen(Effect.mapError(system.ensure(["build-essential"]), () => error)),
                Effect.andThen(python.ensure(requirements, prepared)),
              ),
          ),
        );

      const ensure = Effect.fn("DependencyInstaller.ensure")(function* (
        needed: Dependencies,
        prepared: PreparedWorkspace,
      ) {
        // System packages may take minutes, in which the workspace may have been replaced.
        const current = needed.system.length === 0 ? Effect.succeed(prepared) : workspace.ready;
        const [, ensured] = yield* Effect.all(
          [
            system.ensure(needed.system),
            Effect.flatMap(current, (now) => pythonWithCompiler(needed.python, now)),
          ],
          { concurrency: needed.accelerate ? 2 : 1 },
        );
        return ensured;
      });

      return DependencyInstaller.of({
        ensure: (needed, prepared) =>
          needed.python.length === 0 && needed.system.length === 0
            ? Effect.succeed(prepared)
            : ensure(needed, prepared),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([Workspace.layer, PythonPackages.layer, SystemPackages.layer]),
  );
}
