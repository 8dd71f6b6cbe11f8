import { Effect, Exit, Option, Ref } from "effect";

import { BackgroundWork } from "../../platform/BackgroundWork.ts";
import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import { Leases } from "../../venv/leases/Leases.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import type { SharedVenv } from "../../workspace/copies/PackageArchives.ts";
import { Packing } from "../../workspace/copies/Packing.ts";
import { INSTALL_TIMEOUT } from "../InstallTimeout.ts";
import { planning } from "./Planning.ts";
import { adding, buildNew, formatRequirements } from "./VenvChanges.ts";

const OPTIONS = { cache: true };

const logDropped = (lists: ReadonlyArray<string>) =>
  lists.length === 0
    ? Effect.void
    : Effect.logInfo(
        `Not installed on the volume, because the worker stops: ${lists.join("; ")}. The next container installs it again.`,
      );

/** Adds packages to the venv on the volume, or builds another one if that is not possible any more. */
const changing = Effect.gen(function* () {
  const venvs = yield* VenvBuilder;
  const packing = yield* Packing;
  const leases = yield* Leases;
  const timeout = yield* INSTALL_TIMEOUT.value;
  const { planFor } = yield* planning;
  const add = yield* adding;

  /** The venv itself or the newest one to which packages can be added with a lease of this generation. */
  const extensible = Effect.fnUntraced(function* ({ place, venv }: SharedVenv, generation: number) {
    const isExtensible = Effect.fnUntraced(function* (one: Venv) {
      const isUsable = one.generation === generation && (yield* venvs.isUsable(one));
      return isUsable && !(yield* venvs.isInstalling(one));
    });
    if (yield* isExtensible(venv)) return Option.some(venv);
    return yield* Effect.findFirst(yield* venvs.all(place), isExtensible);
  });

  /** Builds a venv for the containers that start later. */
  const replace = Effect.fnUntraced(function* (
    { place, venv }: SharedVenv,
    requirements: ReadonlyArray<string>,
  ) {
    yield* Effect.logInfo(
      `Packages can't be added to ${venv.prefix} any more, because a worker that did it has stopped; building a new venv`,
    );
    const build = (list: ReadonlyArray<string>) =>
      leases.useUnless({
        place,
        lock: "initialization",
        minWait: timeout,
        find: Effect.succeedNone,
        use: (generation) => venvs.build(place, list, generation),
      });
    const built = yield* buildNew(requirements, yield* venvs.requirements(venv), build);
    yield* packing.update({ place, venv: built }, true);
  });

  /** Must be called with the install lease of the workspace, for its generation. */
  return Effect.fnUntraced(function* (
    source: SharedVenv,
    prepared: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
    generation: number,
  ) {
    const found = yield* extensible(source, generation);
    if (Option.isNone(found)) return yield* replace(source, requirements);
    const venv = found.value;
    const plan = yield* planFor(prepared, venv, requirements, OPTIONS);
    if (plan === "additions") {
      yield* add(prepared, venv, requirements, OPTIONS);
      yield* packing.update({ ...source, venv }, false);
    } else if (plan === "changes") {
      yield* Effect.logInfo(
        `Not installed on the volume: ${formatRequirements(requirements)} would change packages of ${venv.prefix}`,
      );
    }
  });
});

/**
 * Adds packages to the venv on the volume in the background, after they were added to this worker's copy. If the worker
 * ends meanwhile, the venv stays marked, so that no worker adds packages to it.
 */
export const volumeInstalls = Effect.gen(function* () {
  const background = yield* BackgroundWork;
  const leases = yield* Leases;
  const timeout = yield* INSTALL_TIMEOUT.value;
  const installWithLease = yield* changing;
  const pending = yield* Ref.make<ReadonlyArray<string>>([]);
  const done = (names: string) =>
    Ref.update(pending, (lists) => lists.filter((one) => one !== names));

  yield* Effect.addFinalizer(() => Effect.flatMap(Ref.get(pending), logDropped));

  const install = Effect.fn("LocalInstalls.onVolume")(function* (
    source: SharedVenv,
    prepared: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
  ) {
    yield* leases.useUnless({
      place: source.place,
      lock: "install",
      minWait: timeout,
      find: Effect.succeedNone,
      use: (generation) => installWithLease(source, prepared, requirements, generation),
    });
  });

  return Effect.fnUntraced(function* (
    source: SharedVenv,
    prepared: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
  ) {
    if (source.place.isFull === true) return;
    const names = formatRequirements(requirements);
    yield* Ref.update(pending, (lists) => [...lists, names]);
    const work = Effect.onExit(install(source, prepared, requirements), (exit) =>
      Exit.hasInterrupts(exit) ? Effect.void : done(names),
    );
    yield* background.runLong(`installing ${names} on the volume`, work);
  });
});
