import { Duration, Effect, Option } from "effect";

import { withoutCredentials } from "../../settings/Credentials.ts";
import { stopwatch } from "../../settings/SteadyClock.ts";
import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import type { PreparedWorkspace, WorkspaceError } from "../../workspace/PreparedWorkspace.ts";
import { Pip, type PipOptions } from "./Pip.ts";
import { PythonInstallFailed } from "./PythonInstallFailed.ts";

/** Formats requirements for messages, without credentials. */
export const formatRequirements = (requirements: ReadonlyArray<string>): string =>
  requirements.map(withoutCredentials).join(", ");

const union = (one: ReadonlyArray<string>, other: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...new Set([...one, ...other]),
];

/** Adds packages to a venv. The venv is marked during the install, and its requirements are recorded afterwards. */
export const adding = Effect.gen(function* () {
  const venvs = yield* VenvBuilder;
  const pip = yield* Pip;

  /** Removes the mark after an install that failed or was interrupted before it changed a package. */
  const unmarkIfUnchanged = Effect.fnUntraced(
    function* (venv: Venv, changedAt: Option.Option<number>, requirements: ReadonlyArray<string>) {
      const now = Option.getOrUndefined(yield* venvs.changedAt(venv));
      if (Option.contains(changedAt, now)) yield* venvs.endInstall(venv, requirements);
    },
    Effect.catch((error) => Effect.logWarning(error.message)),
  );

  return Effect.fn("PythonPackages.add")(function* (
    prepared: PreparedWorkspace,
    venv: Venv,
    requirements: ReadonlyArray<string>,
    options: PipOptions,
  ) {
    const elapsed = yield* stopwatch;
    yield* Effect.logInfo(`Installing ${formatRequirements(requirements)}`);
    const before = yield* venvs.requirements(venv);
    const changedAt = yield* venvs.changedAt(venv);
    yield* venvs.beginInstall(venv);
    yield* Effect.onError(pip.install(prepared, venv, requirements, options), () =>
      unmarkIfUnchanged(venv, changedAt, before),
    );
    yield* venvs.endInstall(venv, union(before, requirements));
    const seconds = Duration.toSeconds(yield* elapsed).toFixed(2);
    yield* Effect.logInfo(`Installed ${formatRequirements(requirements)} in ${seconds} s`);
  });
});

/** Builds a venv for a list and, if there are no conflicts, the requirements of another venv. */
export const buildNew = Effect.fn("PythonPackages.buildNew")(function* (
  requirements: ReadonlyArray<string>,
  before: ReadonlyArray<string>,
  build: (list: ReadonlyArray<string>) => Effect.Effect<PreparedWorkspace, WorkspaceError>,
) {
  const both = union(before, requirements);
  return yield* build(both).pipe(
    Effect.catchTag("VenvCreationFailed", (error) =>
      both.length === requirements.length ? Effect.fail(error) : build(requirements),
    ),
    Effect.catchTag("VenvCreationFailed", ({ output }) =>
      Effect.fail(PythonInstallFailed.from(requirements, output)),
    ),
  );
});
