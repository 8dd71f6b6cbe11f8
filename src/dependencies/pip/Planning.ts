import { Effect, Option } from "effect";

import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { Pip, type PipOptions, type Plan } from "./Pip.ts";

/** What installing would do, as found without a lock, and when the packages of the venv had changed last. */
export interface Foreseen {
  readonly venv: Venv;
  readonly changedAt: number;
  readonly plan: Plan;
}

/** Finds out what installing a list of requirements would do to a venv. */
export const planning = Effect.gen(function* () {
  const pip = yield* Pip;
  const venvs = yield* VenvBuilder;

  /** What no index has for this venv may have come with the image, and is then in another venv. */
  const planFor = (
    prepared: PreparedWorkspace,
    venv: Venv,
    requirements: ReadonlyArray<string>,
    options: PipOptions,
  ) =>
    pip.plan(prepared, venv, requirements, options).pipe(
      Effect.catchIf(
        (error) =>
          error._tag === "PythonInstallFailed" &&
          (error.reason === "unknown" || error.reason === "conflicting"),
        (error) =>
          Effect.flatMap(venvs.replacesImage(venv), (replaces) =>
            replaces ? Effect.succeed("changes" as const) : Effect.fail(error),
          ),
      ),
    );

  /** When the packages had changed last; none while they are being changed. */
  const unchangedSince = Effect.fnUntraced(function* (venv: Venv) {
    return (yield* venvs.isInstalling(venv)) ? Option.none() : yield* venvs.changedAt(venv);
  });

  /** Plans without a lock; none if the venv is or was changed meanwhile, since the plan may be wrong then. */
  const foresee = Effect.fn("PythonPackages.foresee")(function* (
    prepared: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
    options: PipOptions,
  ) {
    const { venv } = prepared;
    const before = yield* unchangedSince(venv);
    if (Option.isNone(before)) return Option.none<Foreseen>();
    const plan = yield* planFor(prepared, venv, requirements, options);
    return Option.contains(yield* unchangedSince(venv), before.value)
      ? Option.some<Foreseen>({ venv, changedAt: before.value, plan })
      : Option.none<Foreseen>();
  });

  /** The plan that was made without a lock, if it still holds, else a new one. */
  const confirm = Effect.fnUntraced(function* (
    foreseen: Option.Option<Foreseen>,
    prepared: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
    options: PipOptions,
  ) {
    const { venv } = prepared;
    const holds =
      Option.isSome(foreseen) &&
      foreseen.value.venv.prefix === venv.prefix &&
      Option.contains(yield* venvs.changedAt(venv), foreseen.value.changedAt);
    return holds ? foreseen.value.plan : yield* planFor(prepared, venv, requirements, options);
  });

  return { planFor, foresee, confirm };
});
