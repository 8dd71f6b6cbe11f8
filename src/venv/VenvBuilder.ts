import { Context, Effect, FileSystem, Layer, Metric, type Option } from "effect";

import { type DiskFault, diskFault } from "../platform/files/DiskFault.ts";
import { InstallCheck, type InstallDamaged } from "./InstallCheck.ts";
import { Interpreters, type PythonNotFound } from "./Interpreters.ts";
import { type Place, venvsFolder } from "./Place.ts";
import { Uv } from "./Uv.ts";
import { type Venv, type VenvRecords, venvRecords } from "./Venv.ts";
import { venvFinder } from "./VenvFinder.ts";
import { publish } from "./VenvLink.ts";
import { venvSource } from "./VenvSource.ts";
import { removeUnfinished, venvBuild } from "./build/VenvBuild.ts";
import type { VenvCreationFailed } from "./build/VenvCreationFailed.ts";
import type { UvUnavailable } from "./uv/UvInstallation.ts";

export type VenvError =
  | VenvCreationFailed
  | InstallDamaged
  | DiskFault
  | PythonNotFound
  | UvUnavailable;

export const venvsCreated = Metric.counter("workspace_venv_created", { incremental: true });

/**
 * Virtual environments in `.venvs`, numbered per interpreter and image. They are built under a temporary name and
 * published by the link `.venv` when complete.
 */
export class VenvBuilder extends Context.Service<
  VenvBuilder,
  Omit<VenvRecords, "markComplete"> & {
    /** The newest usable venv of this image. Starts no process. */
    readonly find: (place: Place) => Effect.Effect<Option.Option<Venv>, PythonNotFound | DiskFault>;
    /** All usable venvs of this image, newest first. */
    readonly all: (place: Place) => Effect.Effect<ReadonlyArray<Venv>, PythonNotFound | DiskFault>;
    /**
     * Builds a new venv with these requirements in addition to the base packages, and links `.venv` to it. The
     * caller must have the lease for this generation of the place.
     */
    readonly build: (
      place: Place,
      requirements: ReadonlyArray<string>,
      generation: number,
      /** Whether uv may cache downloads; true by default. */
      cache?: boolean,
    ) => Effect.Effect<Venv, VenvError>;
    /** Links `.venv` to a venv, unless the place has a later generation. */
    readonly publish: (place: Place, venv: Venv) => Effect.Effect<void, DiskFault>;
    /** Venvs of this image that can be removed if no worker uses them. */
    readonly surplus: (place: Place) => Effect.Effect<ReadonlyArray<Venv>>;
  }
>()("worker-tetra/venv/VenvBuilder") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const records = yield* venvRecords;
      const source = yield* venvSource;
      const { list, find, all, surplus } = yield* venvFinder(source, records);
      const buildNumbered = yield* venvBuild(records);

      const build = Effect.fn("VenvBuilder.build")(function* (
        place: Place,
        requirements: ReadonlyArray<string>,
        generation: number,
        cache = true,
      ) {
        const own = yield* source;
        const parent = venvsFolder(place);
        yield* files
          .makeDirectory(parent, { recursive: true })
          .pipe(Effect.mapError(diskFault(parent, "can't be created")));
        const newest = (yield* list(place)).find((venv) => venv.generation === generation);
        const number = (newest?.number ?? 0) + 1;
        const venv = yield* buildNumbered(place, own, { generation, number }, requirements, cache);
        yield* publish(files, place, venv);
        yield* Metric.update(venvsCreated, 1);
        yield* removeUnfinished(files, parent, generation);
        return venv;
      });

      const { markComplete: _, ...publicRecords } = records;
      return VenvBuilder.of({
        ...publicRecords,
        find,
        all,
        build,
        publish: (place, venv) => publish(files, place, venv),
        surplus,
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([Interpreters.layer, Uv.layer, InstallCheck.layer]),
  );
}
