import { dirname, join } from "node:path";

import { Context, Duration, Effect, Layer, Ref, Schedule, Schema } from "effect";

import { BackgroundWork } from "../../platform/BackgroundWork.ts";
import { VolumeProcess } from "../../platform/volume/VolumeProcess.ts";
import type { Place } from "../../venv/Place.ts";
import { COMPILE_CACHES } from "../JobEnvironment.ts";

/** Less than any age at which `prune` removes data, since workers can run for weeks. */
const MARK_EVERY = Duration.days(1);

/** Whether a path is a folder of compiled kernels, and not one that the user has chosen. */
const isOneOf = (caches: string) => {
  const parents = new Set(COMPILE_CACHES.map((name) => join(caches, name)));
  return (path: string) => parents.has(dirname(path));
};

/** Marks the folders of compiled kernels that jobs use, so that `prune` does not remove them: reading changes no time. */
export class CompileUse extends Context.Service<
  CompileUse,
  {
    /** Marks the folders in the variables of jobs now and once a day, in the background. */
    readonly mark: (
      place: Place,
      variables: Readonly<Record<string, string>>,
    ) => Effect.Effect<void>;
  }
>()("worker-tetra/workspace/models/CompileUse") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const volume = yield* VolumeProcess;
      const background = yield* BackgroundWork;
      const scope = yield* Effect.scope;
      const marked = yield* Ref.make<ReadonlySet<string>>(new Set());

      /** The folders of later virtual environments are marked with those of earlier ones, which may still be used. */
      const markAll = Effect.gen(function* () {
        const paths = [...(yield* Ref.get(marked))];
        yield* background.run(
          "marking compiled kernels as used",
          volume.request("models.touch", { paths }, Schema.Null),
        );
      });

      return CompileUse.of({
        mark: Effect.fnUntraced(function* ({ caches }, variables) {
          const added = Object.values(variables).filter(isOneOf(caches)).filter(volume.contains);
          const before = yield* Ref.getAndUpdate(marked, (all) => new Set([...all, ...added]));
          if (added.every((path) => before.has(path))) return;
          if (before.size > 0) return yield* markAll;
          yield* Effect.forkIn(Effect.repeat(markAll, Schedule.spaced(MARK_EVERY)), scope);
        }),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([VolumeProcess.layer, BackgroundWork.layer]),
  );
}
