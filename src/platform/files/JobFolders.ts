import { join, resolve } from "node:path";

import { Effect, Option } from "effect";

import { Environment } from "../../settings/Environment.ts";
import * as Setting from "../../settings/Setting.ts";

export const VOLUME_PATH = Setting.text({
  name: "RUNPOD_VOLUME_PATH",
  doc: "Mount point of the network volume.",
  expected: "a path",
  fallback: "/runpod-volume",
});

export const WORKSPACE_PATH = Setting.optionalText({
  name: "WORKER_WORKSPACE_PATH",
  doc: "Workspace folder if there is no network volume.",
  expected: "a path",
  fallback: "/app if it is writable, else the user's cache folder",
});

/** The folder of the application in images for this worker. */
export const APP = "/app";

/**
 * Folders that jobs and other endpoints can write to: links below them must not be followed. The paths of these
 * folders are configured by the user and may contain links.
 */
export const jobFolders = Effect.gen(function* () {
  const { userCache } = yield* Environment;
  const volume = yield* Effect.option(VOLUME_PATH.value);
  const workspace = Option.flatten(yield* Effect.option(WORKSPACE_PATH.value));
  return [...Option.toArray(volume), ...Option.toArray(workspace), APP, userCache];
});

/** The absolute path of the network volume's mount point. */
export const volumeRoot = Effect.map(
  Effect.orElseSucceed(VOLUME_PATH.value, () => VOLUME_PATH.fallback),
  (path) => resolve(path),
);

/** Whether a path is on a volume by its name, without touching the volume. */
export const isWithin = (root: string, path: string): boolean => {
  const whole = resolve(path);
  return whole === root || whole.startsWith(join(root, "/"));
};

/** Writable in every Docker container, even in a read-only one. */
const SHARED_MEMORY = "/dev/shm";

/** A folder for temporary files in another one. */
export const scratchFolderOn = (folder: string): string => join(folder, ".worker-tetra-tmp");

/**
 * Local folders for temporary files if the system's folder is not writable, in order of preference. The network volume
 * is the last resort: the worker opens pipes there, which block it if the volume hangs.
 */
export const scratchFolders = Effect.map(jobFolders, ([, ...others]) => [
  SHARED_MEMORY,
  ...others.map(scratchFolderOn),
]);
