import { Context, Effect, Layer } from "effect";

import { bothEnds } from "./LastWords.ts";
import { type Ensured, PythonPackages, type PythonPackagesError } from "./PythonPackages.ts";
import { SystemPackages } from "./SystemPackages.ts";
import type { SystemInstallFailed } from "./apt/SystemInstallFailed.ts";

/** What a job needs beside its code. */
export interface Dependencies {
  /** PEP 508 requirements. */
  readonly python: ReadonlyArray<string>;
  /** Names of Debian packages. */
  readonly system: ReadonlyArray<string>;
  /** Install both kinds at the same time. */
  readonly accelerate: boolean;
}

/** How build tools say that there is no compiler. */
const NO_COMPILER =
  /(?:command|execute) '?(?:[\w.-]*-)?(?:gcc|g\+\+|cc|c\+\+)'? (?:failed: )?No such file|linker `cc` not found|No CMAKE_C(?:XX)?_COMPILER|Unknown compiler\(s\)|unable to execute '[\w.-]*(?:gcc|cc)'/i;

/** Sees to it that what a job needs is there before its code runs. */
export class DependencyInstaller extends Context.Service<
  DependencyInstaller,
  {
    /** Sees to it that all of it is there, in the environment that it says. */
    readonly ensure: (
      needed: Dependencies,
    ) => Effect.Effect<Ensured, PythonPackagesError | SystemInstallFailed>;
  }
>()("worker-tetra/dependencies/DependencyInstaller") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const python = yield* PythonPackages;
      const system = yield* SystemPackages;

      /** Some packages bring their own source: a compiler comes when it turns out to be missing. */
      const pythonWithCompiler = (requirements: ReadonlyArray<string>) =>
        python.ensure(requirements).pipe(
          Effect.catchIf(
            (error) =>
              error._tag === "PythonInstallFailed" &&
              error.reason === "unbuildable" &&
              NO_COMPILER.test(bothEnds(error.output)),
            (error) =>
              Effect.logInfo("A package has to be compiled: build-essential is installed").pipe(
                Effect.andThen(Effect.mapError(system.ensure(["build-essential"]), () => error)),
                Effect.andThen(python.ensure(requirements)),
              ),
          ),
        );

      const ensure = Effect.fn("DependencyInstaller.ensure")(function* (needed: Dependencies) {
        const [, ensured] = yield* Effect.all(
          [system.ensure(needed.system), pythonWithCompiler(needed.python)],
          { concurrency: needed.accelerate ? 2 : 1 },
        );
        return ensured;
      });

      return DependencyInstaller.of({
        ensure: (needed) =>
          needed.python.length === 0 && needed.system.length === 0
            ? python.ensure([])
            : ensure(needed),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([PythonPackages.layer, SystemPackages.layer]),
  );
}
