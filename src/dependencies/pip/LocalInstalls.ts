import { Context, Effect, Layer, Option } from "effect";

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
import { isFull, retryingWithoutCache } from "./FullDisk.ts";
import { type Change, Pip, type PipOptions } from "./Pip.ts";
import { isUnsatisfiable } from "./Planning.ts";
import { adding, formatRequirements, union } from "./VenvChanges.ts";
import { volumeInstalls } from "./VolumeInstalls.ts";

/** A package from a URL or a path is not identified by its name and version. */
const isFromIndex = (requirement: string): boolean => !/[@/\\]/.test(requirement);

/** What an install would change; none if only the venv on the volume can tell, since it replaces packages of the image. */
const copyPlanning = Effect.map(
  Effect.all([Pip, VenvBuilder]),
  ([pip, venvs]) =>
    (
      { venv }: SharedVenv,
      prepared: PreparedWorkspace,
      requirements: ReadonlyArray<string>,
      options: PipOptions,
    ) =>
      Effect.catchIf(
        Effect.asSome(pip.changes(prepared, prepared.venv, requirements, options)),
        isUnsatisfiable,
        (error) =>
          Effect.flatMap(venvs.replacesImage(venv), (replaces) =>
            replaces ? Effect.succeedNone : Effect.fail(error),
          ),
      ),
);

/** Installs packages into the copy of the virtual environment, if that is possible. */
const copyInstalls = Effect.gen(function* () {
  const workspace = yield* Workspace;
  const venvs = yield* VenvBuilder;
  const changesOf = yield* copyPlanning;
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
    options: PipOptions,
  ) {
    const { venv } = prepared;
    if (yield* venvs.isInstalling(venv)) return Option.none<PreparedWorkspace>();
    const planned = yield* changesOf(source, prepared, requirements, options);
    if (Option.isNone(planned)) return Option.none<PreparedWorkspace>();
    const changes = planned.value;
    if (changes.length === 0) return Option.some(prepared);
    if (changes.some(({ action }) => action !== "installed")) return Option.none();
    yield* copies.complete(venv);
    const isUnpacked = yield* unpackInto(source, venv, requirements, changes);
    if (!isUnpacked) yield* add(prepared, venv, requirements, options);
    yield* installOnVolume(source, prepared, requirements);
    return Option.some(prepared);
  });

  /** None if the virtual environment on the volume is used, from now on or already. */
  return Effect.fn("LocalInstalls.ensure")(function* (requirements: ReadonlyArray<string>) {
    const prepared = yield* workspace.ready;
    const source = yield* copies.sourceOf(prepared.venv);
    if (Option.isNone(source)) return Option.none<PreparedWorkspace>();
    const installed = yield* retryingWithoutCache((options) =>
      install(source.value, prepared, requirements, options),
    ).pipe(
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
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.map(copyInstalls, (ensure) => LocalInstalls.of({ ensure })),
  );

  static readonly layer = this.layerNoDeps.pipe(
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
