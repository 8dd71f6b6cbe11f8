import { Effect, Option } from "effect";

import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { Workspace } from "../../workspace/Workspace.ts";
import type { PipOptions } from "./Pip.ts";
import { type Foreseen, planning } from "./Planning.ts";
import { adding, buildNew, shown } from "./VenvChanges.ts";

/** Activates another venv that satisfies a list, or would after packages are added to it; none if there is none. */
const switching = Effect.gen(function* () {
  const workspace = yield* Workspace;
  const venvs = yield* VenvBuilder;
  const { planFor } = yield* planning;
  const add = yield* adding;

  return Effect.fnUntraced(function* (
    prepared: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
    options: PipOptions,
  ) {
    for (const other of yield* workspace.listVenvs) {
      if (other.prefix === prepared.prefix || (yield* venvs.isInstalling(other))) continue;
      const plan = yield* planFor(prepared, other, requirements, options);
      if (plan === "changes") continue;
      if (plan === "additions") yield* add(prepared, other, requirements, options);
      const activated = yield* workspace.activate(other);
      if (Option.isSome(activated)) return activated;
    }
    return Option.none<PreparedWorkspace>();
  });
});

/** Satisfies a list of requirements in the cheapest way that changes nothing under a running job. */
export const installation = Effect.gen(function* () {
  const workspace = yield* Workspace;
  const venvs = yield* VenvBuilder;
  const { foresee, confirm } = yield* planning;
  const add = yield* adding;
  const switchVenv = yield* switching;

  const replace = (
    requirements: ReadonlyArray<string>,
    before: ReadonlyArray<string>,
    { cache }: PipOptions,
  ) => buildNew(requirements, before, (list) => workspace.extend(list, cache));

  /** Replaces a venv into which an install was cut off. */
  const replaceBroken = Effect.fnUntraced(function* (
    { venv, prefix }: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
    options: PipOptions,
  ) {
    yield* Effect.logWarning(
      `An install into ${prefix} was cut off; a new environment takes its place`,
    );
    yield* venvs.invalidate(venv);
    return yield* replace(requirements, yield* venvs.requirements(venv), options);
  });

  /** Must be called under the install lock of the workspace. */
  const install = Effect.fn("PythonPackages.provide")(function* (
    requirements: ReadonlyArray<string>,
    foreseen: Option.Option<Foreseen>,
    options: PipOptions,
  ) {
    const prepared = yield* workspace.ready;
    const { venv, prefix } = prepared;
    if (yield* venvs.isInstalling(venv)) {
      return yield* replaceBroken(prepared, requirements, options);
    }
    const plan = yield* confirm(foreseen, prepared, requirements, options);
    if (plan === "nothing") return prepared;
    if (plan === "additions") {
      yield* add(prepared, venv, requirements, options);
      return prepared;
    }
    const other = yield* switchVenv(prepared, requirements, options);
    if (Option.isSome(other)) return other.value;
    yield* Effect.logInfo(
      `${shown(requirements)} would change packages of ${prefix}; a new environment is built`,
    );
    return yield* replace(requirements, [], options);
  });

  return { foresee, install };
});
