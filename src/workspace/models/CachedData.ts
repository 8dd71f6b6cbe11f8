import { basename, join } from "node:path";

import { Context, Duration, Effect, FileSystem, Layer, Option, Schema } from "effect";

import { DiskUsage } from "../../platform/files/DiskUsage.ts";
import { safeFileSystem } from "../../platform/files/SafeFileSystem.ts";
import { writableCache } from "../../platform/files/Writability.ts";
import { VolumeProcess } from "../../platform/volume/VolumeProcess.ts";
import { Environment } from "../../settings/Environment.ts";
import type { Place } from "../../venv/Place.ts";
import { COMPILE_CACHES } from "../JobEnvironment.ts";
import { CACHES } from "../Usage.ts";
import { compileFolders } from "../surplus/CompileCaches.ts";
import { modelFolders } from "./LocalModels.ts";

/** Time to measure everything, which happens at the same time. Sizes that take longer are unknown. */
const MEASURE_FOR = Duration.seconds(10);

const Model = Schema.Struct({
  /** Such as `org/name`, or `datasets/org/name`. */
  name: Schema.String,
  bytes: Schema.NullOr(Schema.Finite),
  /** The size of its copy on the container's disk; 0 if there is none. */
  localBytes: Schema.Finite,
});

const Models = Schema.Array(Model);

interface Size {
  readonly bytes: number | null;
}

/** What the caches of a place contain. Sizes are in bytes, and null if measuring takes too long. */
export interface Cached {
  readonly sizes: ReadonlyArray<Size & { readonly path: string }>;
  readonly models: typeof Models.Type;
  /** Compiled kernels by GPU, driver and image. */
  readonly kernels: ReadonlyArray<Size & { readonly key: string }>;
}

/** The name of a repository from its folder in a hub cache, such as `models--org--name`. */
const nameOf = (folder: string): string => {
  const [kind = "", ...parts] = folder.split("--");
  return [...(kind === "models" ? [] : [kind]), ...parts].join("/");
};

const atOnce = { concurrency: "unbounded" } as const;

/** The runtimes folder of a volume contains the virtual environments. */
const foldersOf = ({ caches, directory, shared }: Place): ReadonlyArray<string> => [
  ...(shared ? [] : [join(directory, ".venvs")]),
  ...CACHES.map((name) => join(caches, name)),
];

/** The sum of sizes; null if one of them is unknown. */
const sum = (sizes: ReadonlyArray<Size>): number | null => {
  let total = 0;
  for (const { bytes } of sizes) {
    if (bytes === null) return null;
    total += bytes;
  }
  return total;
};

/** The models of a volume. The container's own hub cache is only measured as a whole. */
const modelsOf = Effect.fnUntraced(
  function* (place: Place) {
    const volume = yield* VolumeProcess;
    const folders = modelFolders(yield* writableCache, place);
    if (!volume.contains(folders.hub)) return [];
    const args = { ...folders, seconds: Duration.toSeconds(MEASURE_FOR) };
    const models = yield* volume.request("models.list", args, Models);
    return models.map(({ name, bytes, localBytes }) => ({ name: nameOf(name), bytes, localBytes }));
  },
  Effect.orElseSucceed((): typeof Models.Type => []),
);

/** Lists what is cached, and measures it. */
export class CachedData extends Context.Service<
  CachedData,
  { readonly list: (place: Place) => Effect.Effect<Cached> }
>()("worker-tetra/workspace/models/CachedData") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const context = yield* Effect.context<FileSystem.FileSystem | VolumeProcess | Environment>();
      const files = Context.get(context, FileSystem.FileSystem);
      const disks = yield* DiskUsage;

      const measure = Effect.fnUntraced(function* (path: string) {
        const size = yield* Effect.timeoutOption(disks.size(path), MEASURE_FOR);
        return { path, bytes: Option.getOrNull(Option.flatten(size)) };
      });

      const exists = (path: string) => Effect.orElseSucceed(files.exists(path), () => false);

      const sizesOf = Effect.fnUntraced(function* (place: Place) {
        const existing = yield* Effect.filter(foldersOf(place), exists, atOnce);
        return yield* Effect.forEach(existing, measure, atOnce);
      });

      const kernelsOf = Effect.fnUntraced(function* ({ caches }: Place) {
        const folders = yield* Effect.forEach(COMPILE_CACHES, (name) =>
          compileFolders(files, join(caches, name)),
        );
        const sizes = yield* Effect.forEach(folders.flat(), ({ path }) => measure(path), atOnce);
        const byKey = Map.groupBy(sizes, ({ path }) => basename(path));
        return [...byKey].map(([key, found]) => ({ key, bytes: sum(found) }));
      });

      return CachedData.of({
        list: Effect.fn("CachedData.list")((place) => {
          const models = Effect.provideContext(modelsOf(place), context);
          return Effect.all({ sizes: sizesOf(place), models, kernels: kernelsOf(place) }, atOnce);
        }),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([DiskUsage.layer, safeFileSystem, VolumeProcess.layer]),
  );
}
