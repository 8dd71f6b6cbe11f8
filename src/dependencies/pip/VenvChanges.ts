import { Cause, Duration, Effect, Option } from "effect";

import { withoutCredentials } from "../../settings/Credentials.ts";
import { stopwatch } from "../../settings/SteadyClock.ts";
import { InstallCheck, type WatchedInstall } from "../../venv/InstallCheck.ts";
import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import type { PreparedWorkspace, WorkspaceError } from "../../workspace/PreparedWorkspace.ts";
import { Pip, type PipOptions, uvVariables } from "./Pip.ts";
import { PythonInstallFailed } from "./PythonInstallFailed.ts";

/** Formats requirements for messages, without credentials. */
export const formatRequirements = (requirements: ReadonlyArray<string>): string =>
  requirements.map(withoutCredentials).join(", ");

/** Both lists without duplicates. */
export const union = (
  one: ReadonlyArray<string>,
  other: ReadonlyArray<string>,
): ReadonlyArray<string> => [...new Set([...one, ...other])];

/** Adds packages to a venv. The venv is marked during the install, and its requirements are recorded afterwards. */
export const adding = Effect.gen(function* () {
  const venvs = yield* VenvBuilder;
  const pip = yield* Pip;
  const check = yield* InstallCheck;

  /** Removes the mark if no package was changed, or if what the failed install has added could be removed. */
  const undo = Effect.fnUntraced(
    function* (
      venv: Venv,
      changedAt: Option.Option<number>,
      watched: WatchedInstall,
      cause: Cause.Cause<unknown>,
    ) {
      // Searching a venv takes too long for a worker that stops.
      const isRestored = Cause.hasInterrupts(cause) ? false : yield* watched.undo;
      const now = Option.getOrUndefined(yield* venvs.changedAt(venv));
      if (isRestored || Option.contains(changedAt, now)) yield* venvs.cancelInstall(venv);
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
    const watched = yield* check.watch(venv, uvVariables(prepared, options));
    yield* venvs.beginInstall(venv);
    yield* pip.install(prepared, venv, requirements, options).pipe(
      Effect.andThen(watched.verify),
      Effect.andThen(venvs.endInstall(venv, union(before, requirements))),
      watched.explain,
      Effect.onError((cause) => undo(venv, changedAt, watched, cause)),
    );
    const seconds = Duration.toSeconds(yield* elapsed).toFixed(2);
    yield* Effect.logInfo(`Installed ${formatRequirements(requirements)} in ${seconds} s`);
  });
});

/** Builds a venv for a list and, if there are no conflicts, the requirements of another venv. */
export const buildNew = Effect.fn("PythonPackages.buildNew")(function* <A>(
  requirements: ReadonlyArray<string>,
  before: ReadonlyArray<string>,
  build: (list: ReadonlyArray<string>) => Effect.Effect<A, WorkspaceError>,
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
