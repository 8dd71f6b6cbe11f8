import { dirname, join } from "node:path";

import { Context, Effect, FileSystem, Layer, Option, Schema } from "effect";

import { DiskFault, diskFault, isFullDisk } from "../platform/files/DiskFault.ts";
import { APP, VOLUME_PATH, WORKSPACE_PATH } from "../platform/files/JobFolders.ts";
import { probeWrite, removeOldProbes, writableCache } from "../platform/files/Writability.ts";
import { deployedResource } from "../settings/DeployedResource.ts";
import { Environment } from "../settings/Environment.ts";
import * as Setting from "../settings/Setting.ts";
import type { Place } from "../venv/Place.ts";

export const ENDPOINT_ID = Setting.text({
  name: "RUNPOD_ENDPOINT_ID",
  doc: "ID of the endpoint, set by RunPod. Workers of the same endpoint share a folder on the volume.",
  expected: "letters, digits, - and _, at most 128 characters",
  fallback: "default",
});

/** RunPod mounts cached models here below the volume's path, with or without a volume. */
const CACHED_MODELS = ["huggingface-cache", "hub"] as const;

/** RunPod stages models of SDK 2.0 here: a folder for each owner, name and revision. */
const STAGED_MODELS = "/runpod/model-store/huggingface";

/** A network volume exists but can't be used. */
export class VolumeNotWritable extends Schema.TaggedError<VolumeNotWritable>()(
  "VolumeNotWritable",
  { path: Schema.String, fault: DiskFault },
) {
  override get message(): string {
    return `The network volume can't be used. ${this.fault.message} Until this is fixed, each worker builds its virtual environment on the container's disk, and nothing persists.`;
  }
}

const endpointFolder = Effect.gen(function* () {
  const id = yield* ENDPOINT_ID.value;
  // The id is the name of a folder, so it must not contain path separators or be `..`.
  if (/^[A-Za-z0-9_-]{1,128}$/.test(id)) return id;
  const { name: setting, expected, fallback } = ENDPOINT_ID;
  return yield* new Setting.SettingInvalid({ setting, expected, fallback, given: id });
});

const directoryOn = (root: string, endpoint: string): string => join(root, "runtimes", endpoint);

/** The workspace folder of the endpoint on the network volume, which may not exist. */
export const sharedDirectory = Effect.gen(function* () {
  return directoryOn(yield* VOLUME_PATH.value, yield* endpointFolder);
});

const isDirectory = (files: FileSystem.FileSystem, folder: string) =>
  files.stat(folder).pipe(
    Effect.map(({ type }) => type === "Directory"),
    Effect.orElseSucceed(() => false),
  );

/** Whether a path is a mount point. */
const isMount = (files: FileSystem.FileSystem, root: string) =>
  Effect.all([files.stat(root), files.stat(dirname(root))]).pipe(
    Effect.map(([own, parent]) => own.dev !== parent.dev),
    Effect.orElseSucceed(() => false),
  );

/** Whether there is a network volume, and whether it is full. Fails if it can't be used. */
const stateOf = Effect.fn("Volume.shared")(function* (
  files: FileSystem.FileSystem,
  root: string,
  /** The workspace folder on the volume. */
  directory: string,
) {
  // Only a missing folder means that there is no volume: `stat` of a disconnected volume fails with other codes.
  const kind = yield* Effect.result(files.stat(root));
  if (kind._tag === "Failure") {
    const fault = diskFault(root, "can't be accessed")(kind.failure);
    if (["ENOENT", "ENOTDIR"].includes(fault.code)) return "absent";
    return yield* new VolumeNotWritable({ path: root, fault });
  }
  if (kind.success.type !== "Directory") return "absent";
  // Each operation takes a round trip to the volume's server, so the root is listed only before it is used.
  const names = (yield* isDirectory(files, directory))
    ? []
    : yield* Effect.orElseSucceed(files.readDirectory(root), () => []);
  // RunPod mounts cached models without a volume too.
  const onlyModels = names.length === 1 && names[0] === CACHED_MODELS[0];
  // A new volume may contain only cached models too, but it is a mount point.
  if (onlyModels && !(yield* isMount(files, root))) return "absent";
  const writable = yield* Effect.result(probeWrite(files, root));
  yield* removeOldProbes(files, root, names);
  if (writable._tag === "Success") return "writable";
  if (onlyModels) return "absent";
  // An existing virtual environment can be used.
  if (isFullDisk(writable.failure)) return "full";
  return yield* new VolumeNotWritable({ path: root, fault: writable.failure });
});

/** The folder of the caches of a deployed app: the volume if it can be used. */
const cachesOfApp = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  { caches: root, directory }: Place,
) {
  const state = yield* Effect.catch(stateOf(files, root, directory), ({ message }) =>
    Effect.as(Effect.logWarning(message), "absent"),
  );
  return state === "writable" ? Option.some(root) : Option.none<string>();
});

/** Finds the places for a workspace: on the endpoint's network volume, and on the container's disk. */
export class Volume extends Context.Service<
  Volume,
  {
    /**
     * On the network volume; none if there is no volume, and for deployed apps: they bring their packages, and start
     * faster without one.
     */
    readonly shared: Effect.Effect<Option.Option<Place>, VolumeNotWritable>;
    /** On the container's disk. */
    readonly own: Place;
  }
>()("worker-tetra/workspace/Volume") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const { userCache } = yield* Environment;
      const cache = yield* writableCache;
      const root = yield* VOLUME_PATH.value;
      const endpoint = yield* endpointFolder;
      const chosen = yield* WORKSPACE_PATH.value;

      const models = join(root, ...CACHED_MODELS);
      const cachedModels = (yield* isDirectory(files, models))
        ? Option.some(models)
        : Option.none();

      const hasStagedModels = yield* isDirectory(files, STAGED_MODELS);

      const onVolume: Place = {
        directory: directoryOn(root, endpoint),
        shared: true,
        caches: root,
        cachedModels,
      };
      const defaultDirectory = Effect.map(Effect.isSuccess(probeWrite(files, APP)), (isWritable) =>
        isWritable ? APP : join(cache, "workspace"),
      );
      const directory = Option.isSome(chosen) ? chosen.value : yield* defaultDirectory;
      const isApp = Option.isSome(yield* deployedResource);
      const caches = isApp ? yield* cachesOfApp(files, onVolume) : Option.none<string>();
      const isCacheHere = Option.isSome(caches) || cache !== userCache;

      return Volume.of({
        shared: isApp
          ? Effect.succeedNone
          : Effect.map(stateOf(files, root, onVolume.directory), (state) => {
              if (state === "absent") return Option.none();
              return Option.some(state === "full" ? { ...onVolume, isFull: true } : onVolume);
            }),
        own: {
          directory,
          shared: false,
          caches: Option.getOrElse(caches, () => directory),
          cachedModels,
          // Not on the volume: a link to a folder of this machine would break downloads of other endpoints.
          ...(hasStagedModels && Option.isNone(caches) ? { stagedModels: STAGED_MODELS } : {}),
          ...(isCacheHere ? { keepsCaches: true } : {}),
        },
      });
    }),
  );
}
