import { Context, Effect, Exit, Layer, Option, Ref } from "effect";

import { BackgroundWork } from "../../platform/BackgroundWork.ts";
import { InstallCheck } from "../../venv/InstallCheck.ts";
import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import { Leases } from "../../venv/leases/Leases.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { Workspace } from "../../workspace/Workspace.ts";
import { LocalCopies } from "../../workspace/copies/LocalCopies.ts";
import { PackageArchives, type SharedVenv } from "../../workspace/copies/PackageArchives.ts";
import { Packing } from "../../workspace/copies/Packing.ts";
import { INSTALL_TIMEOUT } from "../InstallTimeout.ts";
import { isFull } from "./FullDisk.ts";
import { type Change, Pip } from "./Pip.ts";
import { planning } from "./Planning.ts";
import { adding, formatRequirements, union } from "./VenvChanges.ts";

const OPTIONS = { cache: true };

/** A package from a URL or a path is not identified by its name and version. */
const isFromIndex = (requirement: string): boolean => !/[@/\\]/.test(requirement);

const logDropped = (lists: ReadonlyArray<string>) =>
  lists.length === 0
    ? Effect.void
    : Effect.logInfo(
        `Not installed on the volume, because the worker stops: ${lists.join("; ")}. The next container installs it again.`,
      );

/** Adds packages to the venv on the volume, after they were added to this worker's copy. */
const volumeInstalls = Effect.gen(function* () {
  const venvs = yield* VenvBuilder;
  const packing = yield* Packing;
  const background = yield* BackgroundWork;
  const leases = yield* Leases;
  const timeout = yield* INSTALL_TIMEOUT.value;
  const { planFor } = yield* planning;
  const add = yield* adding;
  const pending = yield* Ref.make<ReadonlyArray<string>>([]);
  const done = (names: string) =>
    Ref.update(pending, (lists) => lists.filter((one) => one !== names));

  yield* Effect.addFinalizer(() => Effect.flatMap(Ref.get(pending), logDropped));

  const installWithLease = Effect.fnUntraced(function* (
    source: SharedVenv,
    prepared: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
    generation: number,
  ) {
    const { venv } = source;
    const isUsable = venv.generation === generation && (yield* venvs.isUsable(venv));
    if (!isUsable || (yield* venvs.isInstalling(venv))) return;
    const plan = yield* planFor(prepared, venv, requirements, OPTIONS);
    if (plan === "additions") {
      // An interrupted install would damage the venv.
      yield* Effect.uninterruptible(add(prepared, venv, requirements, OPTIONS));
      yield* packing.update(source, false);
    } else if (plan === "changes") {
      yield* Effect.logInfo(
        `Not installed on the volume: ${formatRequirements(requirements)} would change packages of ${venv.prefix}`,
      );
    }
  });

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
    yield* background.run(`installing ${names} on the volume`, work);
  });
});

/** Installs packages into the copy of the virtual environment, if that is possible. */
const copyInstalls = Effect.gen(function* () {
  const workspace = yield* Workspace;
  const venvs = yield* VenvBuilder;
  const pip = yield* Pip;
  const copies = yield* LocalCopies;
  const archives = yield* PackageArchives;
  const add = yield* adding;
  const installOnVolume = yield* volumeInstalls;

  /** False if a package has no archive. */
  const unpackInto = Effect.fn("LocalInstalls.unpack")(function* (
    source: SharedVenv,
    copy: Venv,
    requirements: ReadonlyArray<string>,
    packages: ReadonlyArray<Change>,
  ) {
    if (!requirements.every(isFromIndex)) return false;
    const found = yield* archives.findAll(source, packages);
    if (Option.isNone(found)) return false;
    const before = yield* venvs.requirements(copy);
    yield* venvs.beginInstall(copy);
    yield* archives.unpack(source, found.value, copy.prefix);
    yield* venvs.endInstall(copy, union(before, requirements));
    yield* Effect.logInfo(`Installed ${formatRequirements(requirements)} from archives`);
    return true;
  });

  /** None if the list can't be installed into the copy. */
  const install = Effect.fn("LocalInstalls.install")(function* (
    source: SharedVenv,
    prepared: PreparedWorkspace,
    requirements: ReadonlyArray<string>,
  ) {
    const { venv } = prepared;
    if (yield* venvs.isInstalling(venv)) return Option.none<PreparedWorkspace>();
    const changes = yield* pip.changes(prepared, venv, requirements, OPTIONS);
    if (changes.length === 0) return Option.some(prepared);
    if (changes.some(({ action }) => action !== "installed")) return Option.none();
    const isUnpacked = yield* unpackInto(source, venv, requirements, changes);
    if (!isUnpacked) yield* add(prepared, venv, requirements, OPTIONS);
    yield* installOnVolume(source, prepared, requirements);
    return Option.some(prepared);
  });

  /** None if the virtual environment on the volume is used, from now on or already. */
  return Effect.fn("LocalInstalls.ensure")(function* (requirements: ReadonlyArray<string>) {
    const prepared = yield* workspace.ready;
    const source = yield* copies.sourceOf(prepared.venv);
    if (Option.isNone(source)) return Option.none<PreparedWorkspace>();
    const installed = yield* install(source.value, prepared, requirements).pipe(
      Effect.catchIf(
        (error) => error._tag === "DiskFault" || isFull(error),
        ({ message }) => Effect.as(Effect.logWarning(message), Option.none<PreparedWorkspace>()),
      ),
    );
    if (Option.isNone(installed)) {
      yield* Effect.logInfo(
        `${formatRequirements(requirements)} can't be added to ${prepared.prefix}; using ${source.value.venv.prefix}`,
      );
      yield* workspace.leaveCopy;
    }
    return installed;
  });
});

/**
 * Installs into the copy of the virtual environment that this worker uses: from archives if all packages have one, else
 * with uv. Afterwards the packages are added to the virtual environment on the volume, in the background.
 */
export class LocalInstalls extends Context.Service<
  LocalInstalls,
  {
    /** Returns a workspace that satisfies the list; none if the virtual environment on the volume must be used. */
    readonly ensure: Effect.Success<typeof copyInstalls>;
  }
>()("worker-tetra/dependencies/pip/LocalInstalls") {
  static readonly layer = Layer.effect(
    this,
    Effect.map(copyInstalls, (ensure) => LocalInstalls.of({ ensure })),
  ).pipe(
    Layer.provide([
      Workspace.layer,
      VenvBuilder.layer,
      InstallCheck.layer,
      Leases.layer,
      Pip.layer,
      LocalCopies.layer,
      PackageArchives.layer,
      Packing.layer,
      BackgroundWork.layer,
    ]),
  );
}
