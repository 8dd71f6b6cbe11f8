import { Context, Effect, FileSystem, Layer, Option, Path, Schema } from "effect";

import { DiskFault, diskFault } from "../platform/files/DiskFault.ts";
import { APP, VOLUME_PATH, WORKSPACE_PATH } from "../platform/files/JobFolders.ts";
import { probeWrite, writableCache } from "../platform/files/Writability.ts";
import { Environment } from "../settings/Environment.ts";
import * as Setting from "../settings/Setting.ts";
import type { Place } from "../venv/Place.ts";

export const ENDPOINT_ID = Setting.text({
  name: "RUNPOD_ENDPOINT_ID",
  doc: "The endpoint's id, set by RunPod: its workers share one folder of the volume.",
  expected: "letters, digits, - and _, at most 128 of them",
  fallback: "default",
});

/** RunPod mounts the models that it caches here, below the volume's path, with or without a volume. */
const CACHED_MODELS = ["huggingface-cache", "hub"] as const;

/** There is a network volume, and it can't be used. */
export class VolumeNotWritable extends Schema.TaggedError<VolumeNotWritable>()(
  "VolumeNotWritable",
  { path: Schema.String, fault: DiskFault },
) {
  override get message(): string {
    return `The network volume can't be used. ${this.fault.message} Until then every worker builds its environment on its own disk, and nothing persists.`;
  }
}

const endpointFolder = Effect.gen(function* () {
  const id = yield* ENDPOINT_ID.value;
  // Nothing that could be a path: the id names a folder beside those of other endpoints.
  if (/^[A-Za-z0-9_-]{1,128}$/.test(id)) return id;
  const { name: setting, expected, fallback } = ENDPOINT_ID;
  return yield* new Setting.SettingInvalid({ setting, expected, fallback, given: id });
});

/** Finds out where a worker can live: on the endpoint's network volume, and on the container's own disk. */
export class Volume extends Context.Service<
  Volume,
  {
    /** On the network volume; none where there is no volume. */
    readonly shared: Effect.Effect<Option.Option<Place>, VolumeNotWritable>;
    /** On the container's own disk. */
    readonly own: Place;
  }
>()("worker-tetra/workspace/Volume") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const { userCache } = yield* Environment;
      const cache = yield* writableCache;
      const root = yield* VOLUME_PATH.value;
      const endpoint = yield* endpointFolder;
      const chosen = yield* WORKSPACE_PATH.value;

      const isDirectory = (folder: string) =>
        files.stat(folder).pipe(
          Effect.map(({ type }) => type === "Directory"),
          Effect.orElseSucceed(() => false),
        );

      const models = path.join(root, ...CACHED_MODELS);
      const cachedModels = (yield* isDirectory(models)) ? Option.some(models) : Option.none();

      /** Where cached models are all that is mounted below the path, they are also all that is there. */
      const holdsOnlyModels = Effect.map(
        Effect.orElseSucceed(files.readDirectory(root), (): ReadonlyArray<string> => []),
        (entries) => entries.length === 1 && entries[0] === CACHED_MODELS[0],
      );

      /** A new volume holds nothing else either, but is on a disk of its own. */
      const isMount = Effect.all([files.stat(root), files.stat(path.dirname(root))]).pipe(
        Effect.map(([own, parent]) => own.dev !== parent.dev),
        Effect.orElseSucceed(() => false),
      );

      const shared = Effect.gen(function* () {
        // Only a missing folder means that there is no volume: a disconnected volume still has its folder.
        const kind = yield* Effect.result(files.stat(root));
        if (kind._tag === "Failure") {
          const fault = diskFault(root, "can't be looked at")(kind.failure);
          if (["ENOENT", "ENOTDIR"].includes(fault.code)) return Option.none<Place>();
          return yield* new VolumeNotWritable({ path: root, fault });
        }
        if (kind.success.type !== "Directory") return Option.none<Place>();
        const onlyModels = yield* holdsOnlyModels;
        if (onlyModels && !(yield* isMount)) return Option.none<Place>();
        const writable = yield* Effect.result(probeWrite(files, root));
        if (writable._tag === "Failure") {
          if (onlyModels) return Option.none<Place>();
          return yield* new VolumeNotWritable({ path: root, fault: writable.failure });
        }
        return Option.some<Place>({
          directory: path.join(root, "runtimes", endpoint),
          shared: true,
          caches: root,
          cachedModels,
        });
      }).pipe(Effect.withSpan("Volume.shared"));

      const ownDirectory = Option.isSome(chosen)
        ? chosen.value
        : (yield* Effect.isSuccess(probeWrite(files, APP)))
          ? APP
          : path.join(cache, "workspace");

      return Volume.of({
        shared,
        own: {
          directory: ownDirectory,
          shared: false,
          caches: ownDirectory,
          cachedModels,
          ...(cache === userCache ? {} : { keepsCaches: true }),
        },
      });
    }),
  );
}
