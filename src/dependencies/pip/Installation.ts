import { Effect, Option } from "effect";

import { LockUnavailable } from "../../platform/locks/FileLock.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { Workspace } from "../../workspace/Workspace.ts";
import type { PipOptions } from "./Pip.ts";
import { type EarlyPlan, planning } from "./Planning.ts";
import { adding, buildNew, formatRequirements } from "./VenvChanges.ts";

/**
 * Activates another venv that satisfies a list, if necessary after adding packages, which is done only in venvs of the
 * lease's generation; none if no venv does. The active venv is no copy (see LocalInstalls), and
 * copies that this worker has left are not used again: a venv that is activated has what it was planned for.
 */
const switching = Effect.gen(function* () {
  const workspace = yield* Workspace;
  const venvs = yield* VenvBuilder;
  const { planFor } = yield* planning;
  const add = yield* adding;

  return Effect.fnUntraced(function* (
    prepared: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
    generation: number,
    options: PipOptions,
  ) {
    for (const other of yield* workspace.listVenvs) {
      if (other.prefix === prepared.prefix || (yield* venvs.isInstalling(other))) continue;
      const plan = yield* planFor(prepared, other, requirements, options);
      if (plan === "changes") continue;
      if (plan === "additions") {
        if (other.generation !== generation) continue;
        yield* add(prepared, other, requirements, options);
      }
      const activated = yield* workspace.activate(other);
      if (Option.isSome(activated)) return activated;
    }
    return Option.none<PreparedWorkspace>();
  });
});

/** This worker was stopped. Tries again with a new lease. */
const leaseReplaced = ({ directory }: PreparedWorkspace) =>
  new LockUnavailable({
    path: directory,
    reason: "other workers replaced the lock of this worker, which had stopped",
  });

/** Satisfies a list of requirements in the cheapest way that does not change packages of a running job. */
export const installation = Effect.gen(function* () {
  const workspace = yield* Workspace;
  const venvs = yield* VenvBuilder;
  const { planEarly, confirm } = yield* planning;
  const add = yield* adding;
  const switchVenv = yield* switching;

  const replace = (
    requirements: ReadonlyArray<string>,
    before: ReadonlyArray<string>,
    { cache }: PipOptions,
  ) => buildNew(requirements, before, (list) => workspace.extend(list, cache));

  /** Replaces a venv in which an install was interrupted. */
  const replaceBroken = Effect.fnUntraced(function* (
    { venv, prefix }: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
    options: PipOptions,
  ) {
    yield* Effect.logWarning(
      `An install into ${prefix} was interrupted; building a new venv with its requirements`,
    );
    yield* venvs.invalidate(venv);
    return yield* replace(requirements, yield* venvs.requirements(venv), options);
  });

  /** Must be called with the install lease of the workspace, for its generation. */
  const install = Effect.fn("PythonPackages.applyPlan")(function* (
    requirements: ReadonlyArray<string>,
    earlyPlan: Option.Option<EarlyPlan>,
    generation: number,
    options: PipOptions,
  ) {
    const prepared = yield* workspace.ready;
    const { venv, prefix } = prepared;
    if (venv.generation > generation) return yield* leaseReplaced(prepared);
    if (yield* venvs.isInstalling(venv)) {
      return yield* replaceBroken(prepared, requirements, options);
    }
    const plan = yield* confirm(earlyPlan, prepared, requirements, options);
    if (plan === "nothing") return prepared;
    if (plan === "additions" && venv.generation === generation) {
      yield* add(prepared, venv, requirements, options);
      return prepared;
    }
    const other = yield* switchVenv(prepared, requirements, generation, options);
    if (Option.isSome(other)) return other.value;
    const reason =
      plan === "additions"
        ? `A worker that has stopped may still change ${prefix}`
        : `${formatRequirements(requirements)} would change packages of ${prefix}`;
    yield* Effect.logInfo(`${reason}; building a new venv`);
    const before = plan === "additions" ? yield* venvs.requirements(venv) : [];
    return yield* replace(requirements, before, options);
  });

  return { planEarly, install };
});
