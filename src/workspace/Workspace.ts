import { Context, Effect, Layer, Option, Semaphore } from "effect";

import type { DiskFault } from "../platform/files/DiskFault.ts";
import { DiskUsage } from "../platform/files/DiskUsage.ts";
import { safeFileSystem } from "../platform/files/SafeFileSystem.ts";
import { FileLock } from "../platform/locks/FileLock.ts";
import type { PythonNotFound } from "../venv/Interpreters.ts";
import type { Venv } from "../venv/Venv.ts";
import { VenvBuilder } from "../venv/VenvBuilder.ts";
import { Leases } from "../venv/leases/Leases.ts";
import { LastStart } from "./LastStart.ts";
import type { PreparedWorkspace, WorkspaceError } from "./PreparedWorkspace.ts";
import { usageOf } from "./Usage.ts";
import { Volume } from "./Volume.ts";
import { type Activation, activation } from "./activation/Activation.ts";
import { LocalCopies } from "./copies/LocalCopies.ts";
import { Packing } from "./copies/Packing.ts";
import { CompileUse } from "./models/CompileUse.ts";
import { LocalModels } from "./models/LocalModels.ts";
import { type Preparing, preparation } from "./preparation/Preparation.ts";

/** Replaces the active virtual environment by a new one with the same requirements. */
const rebuilding = (
  venvs: VenvBuilder["Service"],
  copies: LocalCopies["Service"],
  { active, deactivate }: Activation,
  { prepare, prepareIn }: Preparing,
) =>
  Effect.fnUntraced(function* (evidence: string) {
    const broken = yield* active.get;
    if (Option.isNone(broken)) return yield* prepare();
    const { place, prepared } = broken.value;
    const source = yield* copies.sourceOf(prepared.venv);
    if (Option.isSome(source)) {
      yield* Effect.logWarning(
        `The copy ${prepared.prefix} of the virtual environment is broken (${evidence}); using ${source.value.venv.prefix}`,
      );
      yield* copies.discard(prepared.venv);
      yield* deactivate;
      return yield* prepareIn(place);
    }
    yield* Effect.logWarning(
      `The virtual environment ${prepared.prefix} is broken (${evidence}); building a new one`,
    );
    const requirements = yield* venvs.requirements(prepared.venv);
    yield* venvs.invalidate(prepared.venv);
    yield* deactivate;
    return yield* prepareIn(place, requirements);
  });

/**
 * The folder, virtual environment and environment variables of jobs: found or created on first use, then only checked.
 * Prefers the endpoint's network volume and falls back to the container's disk if the volume can't be used.
 */
export class Workspace extends Context.Service<
  Workspace,
  {
    /** Returns the active workspace, and prepares it if necessary. */
    readonly ready: Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /** Replaces the active virtual environment by a new one; `evidence` says why it is considered broken. */
    readonly rebuild: (evidence: string) => Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /** All virtual environments of this image in the workspace, newest first. */
    readonly listVenvs: Effect.Effect<ReadonlyArray<Venv>, PythonNotFound | DiskFault>;
    /** Activates another virtual environment; none if it was removed or invalidated. */
    readonly activate: (venv: Venv) => Effect.Effect<Option.Option<PreparedWorkspace>>;
    /** If the active virtual environment is a copy, activates the one that it was copied from. */
    readonly leaveCopy: Effect.Effect<void>;
    /** Builds a virtual environment with these requirements, and activates it. */
    readonly extend: (
      requirements: ReadonlyArray<string>,
      /** Whether uv may cache downloads; true by default. */
      cache?: boolean,
    ) => Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /** The same on the container's disk, which this worker then uses until it ends. */
    readonly fallBackToOwnDisk: (
      requirements: ReadonlyArray<string>,
    ) => Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /**
     * Must be called after packages were added to a virtual environment. Returns it with a new generation, as `ready`
     * does afterwards if it is the active one.
     */
    readonly packagesAdded: (prepared: PreparedWorkspace) => Effect.Effect<PreparedWorkspace>;
    /** Free space of its disks, and sizes of the folders on them, one per line. */
    readonly usage: Effect.Effect<string>;
  }
>()("worker-tetra/workspace/Workspace") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const volume = yield* Volume;
      const venvs = yield* VenvBuilder;
      const usage = yield* usageOf;
      const copies = yield* LocalCopies;
      const activating = yield* activation;
      const { active, activate, deactivate } = activating;
      const preparing = yield* preparation(activating);
      const { prepare, buildIn } = preparing;
      const { withPermit: exclusively } = Semaphore.makeUnsafe(1);

      const currentPlace = Effect.map(
        active.get,
        Option.map(({ place }) => place),
      );
      const currentPlaceOrOwn = Effect.map(
        currentPlace,
        Option.getOrElse(() => volume.own),
      );

      const checkOrPrepare = Effect.gen(function* () {
        // Another fiber may have prepared the workspace while this one waited for the permit.
        const checked = yield* active.check();
        if (Option.isSome(checked)) return checked.value;
        yield* deactivate;
        return yield* prepare();
      });

      const ensureReady = Effect.fn("Workspace.ready")(function* () {
        const checked = yield* active.check();
        return Option.isSome(checked) ? checked.value : yield* exclusively(checkOrPrepare);
      });

      const replaceBroken = rebuilding(venvs, copies, activating, preparing);
      const activateInPlace = Effect.fnUntraced(function* (venv: Venv) {
        const place = yield* currentPlace;
        if (Option.isNone(place) || !(yield* venvs.isUsable(venv))) return Option.none();
        return yield* activate(place.value, venv);
      }, exclusively);

      return Workspace.of({
        ready: Effect.clockWith((clock) => {
          const recent = active.getIfRecent(clock.currentTimeMillisUnsafe());
          return recent === undefined ? ensureReady() : Effect.succeed(recent);
        }),
        rebuild: (evidence) => exclusively(replaceBroken(evidence)),
        listVenvs: Effect.flatMap(
          currentPlace,
          Option.match({ onNone: () => Effect.succeed([]), onSome: venvs.all }),
        ),
        activate: activateInPlace,
        leaveCopy: exclusively(activating.leaveCopy),
        extend: (requirements, cache) =>
          exclusively(
            Effect.flatMap(currentPlaceOrOwn, (place) => buildIn(place, requirements, cache)),
          ),
        fallBackToOwnDisk: (requirements) => exclusively(buildIn(volume.own, requirements)),
        packagesAdded: activating.packagesAdded,
        usage: Effect.flatMap(currentPlaceOrOwn, (place) => usage([place, volume.own])),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([
      Volume.layer,
      VenvBuilder.layer,
      Leases.layer,
      FileLock.layer,
      DiskUsage.layer,
      LastStart.layer,
      LocalModels.layer,
      CompileUse.layer,
      LocalCopies.layer,
      Packing.layer,
    ]),
    Layer.provide(safeFileSystem),
  );
}
