import { Context, Effect, FileSystem, Layer, Metric, type Option } from "effect";

import { type DiskFault, diskFault } from "../platform/files/DiskFault.ts";
import { Interpreters, type PythonNotFound } from "./Interpreters.ts";
import type { Place } from "./Place.ts";
import { Uv } from "./Uv.ts";
import { type Venv, type VenvRecords, venvRecords } from "./Venv.ts";
import { venvFinder, venvsFolder } from "./VenvFinder.ts";
import { publish } from "./VenvLink.ts";
import { venvSource } from "./VenvSource.ts";
import { removeUnfinished, venvBuild } from "./build/VenvBuild.ts";
import type { VenvCreationFailed } from "./build/VenvCreationFailed.ts";
import type { UvUnavailable } from "./uv/UvInstallation.ts";

export type VenvError = VenvCreationFailed | DiskFault | PythonNotFound | UvUnavailable;

export const venvsCreated = Metric.counter("workspace_venv_created", { incremental: true });

/**
 * Virtual environments under `.venvs`, numbered for each interpreter and image: built under a temporary name, and
 * published by the link `.venv` when they are whole.
 */
export class VenvBuilder extends Context.Service<
  VenvBuilder,
  Omit<VenvRecords, "markComplete"> & {
    /** The newest whole environment of this image. Starts no process. */
    readonly find: (place: Place) => Effect.Effect<Option.Option<Venv>, PythonNotFound>;
    /** All whole environments of this image, the newest first. */
    readonly all: (place: Place) => Effect.Effect<ReadonlyArray<Venv>, PythonNotFound>;
    /**
     * Builds a new environment that has these requirements too, and makes `.venv` lead to it; whoever shares
     * the place must hold its lock.
     */
    readonly build: (
      place: Place,
      requirements: ReadonlyArray<string>,
      /** Whether downloads may be kept in uv's cache; true by default. */
      cache?: boolean,
    ) => Effect.Effect<Venv, VenvError>;
    /** Makes `.venv` lead to an environment. */
    readonly publish: (place: Place, venv: Venv) => Effect.Effect<void, DiskFault>;
    /** Environments of this image that can be removed if nobody runs from them. */
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
        cache = true,
      ) {
        const own = yield* source;
        const parent = venvsFolder(place);
        yield* files
          .makeDirectory(parent, { recursive: true })
          .pipe(Effect.mapError(diskFault(parent, "can't be made")));
        const [newest] = yield* list(place);
        const number = (newest?.number ?? 0) + 1;
        const venv = yield* buildNumbered(place, own, number, requirements, cache);
        yield* publish(files, place, venv);
        yield* Metric.update(venvsCreated, 1);
        yield* removeUnfinished(files, parent);
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

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([Interpreters.layer, Uv.layer]));
}
