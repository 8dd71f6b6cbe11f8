import { join } from "node:path";

import { Context, Effect, Layer, Option, Semaphore } from "effect";

import { BlockingLock } from "../platform/BlockingLock.ts";
import { FileLock } from "../platform/FileLock.ts";
import { DiskUsage } from "../platform/files/DiskUsage.ts";
import { safeFileSystem } from "../platform/files/SafeFileSystem.ts";
import type { PythonNotFound } from "../venv/Interpreters.ts";
import type { Place } from "../venv/Place.ts";
import type { Venv } from "../venv/Venv.ts";
import { VenvBuilder } from "../venv/VenvBuilder.ts";
import { LastStart } from "./LastStart.ts";
import type { PreparedWorkspace, WorkspaceError } from "./PreparedWorkspace.ts";
import { Volume } from "./Volume.ts";
import { type Activation, activation } from "./activation/Activation.ts";
import { type Preparing, preparation } from "./preparation/Preparation.ts";

/** What grows in the folder of caches; the workspaces of all endpoints are there too. */
export const CACHES = [
  "runtimes",
  ".uv-cache",
  ".hf-cache",
  ".torch",
  ".vllm-cache",
  ".apt-cache",
] as const;

/** How full the disks of some places are, and with what, in lines. */
const reportUsage = (disks: DiskUsage["Service"], places: ReadonlySet<Place>) =>
  Effect.map(
    Effect.forEach(places, ({ directory, caches }) =>
      disks.report(directory, [
        join(directory, ".venvs"),
        ...CACHES.map((name) => join(caches, name)),
      ]),
    ),
    (reports) => reports.join("\n"),
  );

/** Replaces the active virtual environment by a new one with the same requirements. */
const replacing = (
  venvs: VenvBuilder["Service"],
  { active, deactivate }: Activation,
  { prepare, prepareIn }: Preparing,
) =>
  Effect.fnUntraced(function* (evidence: string) {
    const broken = yield* active.get;
    if (Option.isNone(broken)) return yield* prepare();
    const { place, prepared } = broken.value;
    yield* Effect.logWarning(
      `The virtual environment ${prepared.prefix} is broken (${evidence}); a new one takes its place`,
    );
    const requirements = yield* venvs.requirements(prepared.venv);
    yield* venvs.invalidate(prepared.venv);
    yield* deactivate;
    return yield* prepareIn(place, requirements);
  });

/**
 * The folder, virtual environment and variables of jobs: found or made on first need, checked again cheaply after
 * that. The endpoint's network volume is preferred; where it can't be used, the container's disk is.
 */
export class Workspace extends Context.Service<
  Workspace,
  {
    readonly ready: Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /** Replaces the current virtual environment, against which there is evidence, by a new one. */
    readonly rebuild: (evidence: string) => Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /** All virtual environments of this image in the workspace, the newest first. */
    readonly listVenvs: Effect.Effect<ReadonlyArray<Venv>, PythonNotFound>;
    /** Makes another virtual environment the current one; none if it was removed or invalidated. */
    readonly activate: (venv: Venv) => Effect.Effect<Option.Option<PreparedWorkspace>>;
    /** Builds a virtual environment that has these requirements, and activates it. */
    readonly extend: (
      requirements: ReadonlyArray<string>,
      /** Whether downloads may be kept in uv's cache; true by default. */
      cache?: boolean,
    ) => Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /** The same on the container's own disk, which this worker then uses until it ends. */
    readonly fallBackToOwnDisk: (
      requirements: ReadonlyArray<string>,
    ) => Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /**
     * To be called after packages were added to a virtual environment: returns it with a new generation, which
     * `ready` has from then on too if that environment is the current one.
     */
    readonly packagesAdded: (prepared: PreparedWorkspace) => Effect.Effect<PreparedWorkspace>;
    /** How full the disks are that it can use, and with what, in lines. */
    readonly usage: Effect.Effect<string>;
  }
>()("worker-tetra/workspace/Workspace") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const volume = yield* Volume;
      const venvs = yield* VenvBuilder;
      const disks = yield* DiskUsage;
      const activating = yield* activation;
      const { active, activate, deactivate } = activating;
      const preparing = yield* preparation(activating);
      const { prepare, buildIn } = preparing;
      /** One change of the active workspace at a time. */
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
        // Another call may have prepared it while this one waited.
        const checked = yield* active.check();
        if (Option.isSome(checked)) return checked.value;
        yield* deactivate;
        return yield* prepare();
      });

      const ensureReady = Effect.fn("Workspace.ready")(function* () {
        const checked = yield* active.check();
        return Option.isSome(checked) ? checked.value : yield* exclusively(checkOrPrepare);
      });

      const replaceBroken = replacing(venvs, activating, preparing);
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
        extend: (requirements, cache) =>
          exclusively(
            Effect.flatMap(currentPlaceOrOwn, (place) => buildIn(place, requirements, cache)),
          ),
        fallBackToOwnDisk: (requirements) => exclusively(buildIn(volume.own, requirements)),
        packagesAdded: active.packagesAdded,
        usage: Effect.flatMap(currentPlaceOrOwn, (place) =>
          reportUsage(disks, new Set([place, volume.own])),
        ),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([
      Volume.layer,
      VenvBuilder.layer,
      BlockingLock.layer,
      FileLock.layer,
      DiskUsage.layer,
      LastStart.layer,
    ]),
    Layer.provide(safeFileSystem),
  );
}
