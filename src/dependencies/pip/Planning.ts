import { Effect, Option } from "effect";

import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import type { UvUnavailable } from "../../venv/uv/UvInstallation.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { Pip, type PipOptions, type Plan } from "./Pip.ts";
import type { PythonInstallFailed } from "./PythonInstallFailed.ts";

/** A plan that was made without the install lock, and the time of the last change to the venv's packages. */
export interface EarlyPlan {
  readonly venv: Venv;
  readonly changedAt: number;
  readonly plan: Plan;
}

/** Whether no versions of packages satisfy the requirements and the packages that are installed. */
export const isUnsatisfiable = (error: PythonInstallFailed | UvUnavailable): boolean =>
  error._tag === "PythonInstallFailed" &&
  (error.reason === "unknown" || error.reason === "conflicting");

/** Determines what an install of a list of requirements would change in a venv. */
export const planning = Effect.gen(function* () {
  const pip = yield* Pip;
  const venvs = yield* VenvBuilder;

  /** Requirements that no index has may be packages of the image that were replaced in this venv, but not in others. */
  const planFor = (
    prepared: PreparedWorkspace,
    venv: Venv,
    requirements: ReadonlyArray<string>,
    options: PipOptions,
  ) =>
    pip
      .plan(prepared, venv, requirements, options)
      .pipe(
        Effect.catchIf(isUnsatisfiable, (error) =>
          Effect.flatMap(venvs.replacesImage(venv), (replaces) =>
            replaces ? Effect.succeed("changes" as const) : Effect.fail(error),
          ),
        ),
      );

  /** The time of the last change to the packages; none during a change. */
  const unchangedSince = Effect.fnUntraced(function* (venv: Venv) {
    return (yield* venvs.isInstalling(venv)) ? Option.none() : yield* venvs.changedAt(venv);
  });

  /** Plans without the install lock; none if the venv changes in the meantime, since the plan may be wrong. */
  const planEarly = Effect.fn("PythonPackages.planEarly")(function* (
    prepared: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
    options: PipOptions,
  ) {
    const { venv } = prepared;
    const before = yield* unchangedSince(venv);
    if (Option.isNone(before)) return Option.none<EarlyPlan>();
    const plan = yield* planFor(prepared, venv, requirements, options);
    return Option.contains(yield* unchangedSince(venv), before.value)
      ? Option.some<EarlyPlan>({ venv, changedAt: before.value, plan })
      : Option.none<EarlyPlan>();
  });

  /** Returns the early plan if the venv has not changed since, otherwise a new one. */
  const confirm = Effect.fnUntraced(function* (
    earlyPlan: Option.Option<EarlyPlan>,
    prepared: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
    options: PipOptions,
  ) {
    const { venv } = prepared;
    const isValid =
      Option.isSome(earlyPlan) &&
      earlyPlan.value.venv.prefix === venv.prefix &&
      Option.contains(yield* venvs.changedAt(venv), earlyPlan.value.changedAt);
    return isValid ? earlyPlan.value.plan : yield* planFor(prepared, venv, requirements, options);
  });

  return { planFor, planEarly, confirm };
});
