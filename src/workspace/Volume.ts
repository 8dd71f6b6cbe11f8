import { randomUUID } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Context, Effect, FileSystem, Layer, Option, Path, Schema } from "effect";

import { Environment } from "../settings/Environment.ts";
import * as Setting from "../settings/Setting.ts";
import { DiskFault, diskFault } from "./DiskFault.ts";

const VOLUME_PATH = Setting.text({
  name: "RUNPOD_VOLUME_PATH",
  doc: "Where the network volume is mounted, if there is one.",
  expected: "a path",
  fallback: "/runpod-volume",
});

export const ENDPOINT_ID = Setting.text({
  name: "RUNPOD_ENDPOINT_ID",
  doc: "The endpoint's id, set by RunPod: its workers share one folder of the volume.",
  expected: "letters, digits, - and _, at most 128 of them",
  fallback: "default",
});

const WORKSPACE_PATH = Setting.optionalText({
  name: "WORKER_WORKSPACE_PATH",
  doc: "The folder to work in where there is no network volume.",
  expected: "a path",
  fallback: "/app if it can be written, else the user's cache folder",
});

/** The folder that images for this worker have. */
const APP = "/app";

/** RunPod mounts the models that it caches here, below the volume's path, with or without a volume. */
const CACHED_MODELS = ["huggingface-cache", "hub"] as const;

/**
 * Folders that jobs and other endpoints can write to: no link below them may be followed. The paths of the folders
 * themselves are configured by the user and may contain links.
 */
export const jobFolders = Effect.gen(function* () {
  const { userCache } = yield* Environment;
  const volume = yield* Effect.option(VOLUME_PATH.value);
  const workspace = Option.flatten(yield* Effect.option(WORKSPACE_PATH.value));
  return [...Option.toArray(volume), ...Option.toArray(workspace), APP, userCache];
});

/** Docker provides it in every container, also in a read-only one. */
const SHARED_MEMORY = "/dev/shm";

/** Where temporary files can go when the system's own folder for them can't be written to, the best first. */
export const scratchFolders = Effect.map(jobFolders, ([volume = "", ...others]) => [
  SHARED_MEMORY,
  ...[...others, volume].map((folder) => join(folder, ".worker-tetra-tmp")),
]);

/** There is a network volume, and it can't be used. */
export class VolumeNotWritable extends Schema.TaggedError<VolumeNotWritable>()(
  "VolumeNotWritable",
  { path: Schema.String, fault: DiskFault },
) {
  override get message(): string {
    return `The network volume can't be used. ${this.fault.message} Until then every worker builds its environment on its own disk, and nothing persists.`;
  }
}

/** A folder that a worker can live in, with what follows from where it is. */
export interface Place {
  /** The workspace: current directory of jobs, parent of the virtual environments. */
  readonly directory: string;
  /** Other workers use it too, so it is locked before it is changed. */
  readonly shared: boolean;
  /** Where caches are kept. */
  readonly caches: string;
  /** Where RunPod's cached models are, if there are any. */
  readonly cachedModels: Option.Option<string>;
  /** Caches are kept in this place, since the user's own folder for caches is not writable. */
  readonly keepsCaches?: boolean;
}

/** Whether a folder, or its closest existing parent, is writable according to the system; nothing is created. */
export const isWritable = Effect.fnUntraced(function* (
  folder: string,
): Effect.fn.Return<boolean, never, FileSystem.FileSystem | Path.Path> {
  const files = yield* FileSystem.FileSystem;
  const path = yield* Path.Path;
  const outcome = yield* Effect.result(files.access(folder, { writable: true }));
  if (outcome._tag === "Success") return true;
  const { reason } = outcome.failure;
  if (reason._tag !== "NotFound" || path.dirname(folder) === folder) return false;
  return yield* isWritable(path.dirname(folder));
});

/** The user's folder for caches, or a temporary folder if that is not writable. */
export const writableCache = Effect.gen(function* () {
  const { userCache } = yield* Environment;
  const path = yield* Path.Path;
  if (yield* isWritable(userCache)) return userCache;
  const temporary = path.join(tmpdir(), `worker-tetra-cache-${process.getuid?.() ?? "user"}`);
  return (yield* isWritable(temporary)) ? temporary : userCache;
});

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

      /** Writes and removes a file of its own name, so that workers which try at once don't meet. */
      const probe = (folder: string) => {
        const file = path.join(folder, `.write-probe-${randomUUID()}`);
        return files.writeFileString(file, "x", { flag: "wx" }).pipe(
          Effect.andThen(files.remove(file)),
          // A quota often shows only when the file is closed, and leaves it there.
          Effect.onError(() => Effect.ignore(files.remove(file))),
          Effect.mapError(diskFault(folder, "can't be written to")),
        );
      };

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
        const writable = yield* Effect.result(probe(root));
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
        : (yield* Effect.isSuccess(probe(APP)))
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
