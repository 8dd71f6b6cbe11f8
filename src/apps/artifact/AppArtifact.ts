import { realpath, stat } from "node:fs/promises";

import { Context, Duration, Effect, FileSystem, Layer, Option, Semaphore } from "effect";

import { diskFault } from "../../platform/files/DiskFault.ts";
import { VOLUME_PATH } from "../../platform/files/JobFolders.ts";
import { isBelow, makeFolders } from "../../platform/files/safe/SafePaths.ts";
import { resourceName } from "../../settings/DeployedResource.ts";
import { type AppStartFailed, startFailed, withoutStop } from "../AppStartFailed.ts";
import type { App } from "../manifest/App.ts";
import { readApp } from "../manifest/AppManifest.ts";
import { installArchive } from "./AppFolder.ts";
import { readMarker } from "./AppMarker.ts";
import {
  APP_DIR,
  ARTIFACT_PATH,
  ARTIFACT_WAIT,
  DISABLE_UNPACK,
  PREBUILT_APP_DIR,
  unpackLimits,
} from "./AppSettings.ts";
import { useArchive } from "./ArchiveWait.ts";
import type { UnpackLimits } from "./Unpack.ts";

/** Runs an operation on a path of the disk. */
const onDisk = <A>(path: string, problem: string, act: () => Promise<A>) =>
  Effect.mapError(Effect.tryPromise(act), ({ cause }) => {
    const { summary, advice = "Check the disk" } = diskFault(path, problem)(cause);
    return startFailed("locate", summary, `${advice}.`);
  });

const isDone = (path: string) =>
  Effect.map(
    onDisk(path, "can't be read", () => readMarker(path)),
    Option.exists(({ isComplete }) => isComplete),
  );

const exists = (path: string) => Effect.isSuccess(Effect.tryPromise(() => stat(path)));

const install = Effect.fnUntraced(function* (
  folder: string,
  archive: string,
  wait: Duration.Duration,
  limits: UnpackLimits,
) {
  const [elapsed, { isNew, leftOut }] = yield* Effect.timed(
    useArchive(archive, wait, (opened, signal) => installArchive(folder, opened, limits, signal)),
  );
  if (isNew) {
    yield* Effect.logInfo(
      `Unpacked the app into ${folder} (${Duration.toSeconds(elapsed).toFixed(1)} seconds)`,
    );
  }
  if (leftOut.length > 0) {
    yield* Effect.logWarning(
      `Left out ${leftOut.length} entries of the app's archive, such as ${leftOut[0]}: the worker creates .venv itself`,
    );
  }
});

/** Creates the app folder. It must not be on the volume, where other endpoints could change it. */
const prepareFolder = Effect.fnUntraced(function* (path: string, volume: string) {
  const folder = yield* onDisk(path, "can't be created", async () => {
    await makeFolders([], path);
    return realpath(path);
  });
  const realVolume = yield* Effect.orElseSucceed(
    Effect.tryPromise(() => realpath(volume)),
    () => volume,
  );
  if (folder === realVolume || isBelow([realVolume], folder)) {
    return yield* startFailed(
      "locate",
      `The app folder ${path} is on the network volume ${volume}, which other workers share`,
      `Set ${APP_DIR.name} to a folder on the container's disk.`,
    );
  }
  return folder;
});

/** An app that may not be unpacked yet. */
export interface ExpectedApp {
  /** The name of the resource that the worker serves. */
  readonly resource: string;
  /** Its folder, which exists. */
  readonly folder: string;
}

/** The deployed app of this worker. */
export class AppArtifact extends Context.Service<
  AppArtifact,
  {
    /**
     * Waits for the archive, unpacks it if that has not been done, and reads the manifest. Can be called again to look
     * for a new archive.
     */
    readonly locate: Effect.Effect<App, AppStartFailed>;
    /** What is known of the app before it is located; none if `locate` takes no time, or will fail. */
    readonly expected: Effect.Effect<Option.Option<ExpectedApp>>;
  }
>()("worker-tetra/apps/artifact/AppArtifact") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const name = yield* resourceName;
      const archive = yield* ARTIFACT_PATH.value;
      const appFolder = yield* APP_DIR.value;
      const wait = yield* ARTIFACT_WAIT.value;
      const limits = yield* unpackLimits;
      const isUnpacked = yield* DISABLE_UNPACK.value;
      const prebuilt = yield* PREBUILT_APP_DIR.value;
      const volume = yield* VOLUME_PATH.value;
      const oneAtATime = yield* Semaphore.make(1);

      const unpack = Effect.fnUntraced(function* () {
        const folder = yield* prepareFolder(appFolder, volume);
        if (!(yield* exists(archive)) && (yield* isDone(folder))) {
          yield* Effect.logInfo(`${archive} does not exist; using the app in ${folder}`);
        } else {
          yield* install(folder, archive, wait, limits);
        }
        return folder;
      });

      const locate = Effect.fn("AppArtifact.locate")(function* () {
        if (Option.isNone(name)) {
          return yield* startFailed(
            "locate",
            "No resource of a deployed app is named",
            "Set FLASH_RESOURCE_NAME.",
          );
        }
        if (Option.isSome(prebuilt)) return yield* readApp(prebuilt.value, name.value);
        return yield* readApp(isUnpacked ? appFolder : yield* unpack(), name.value);
      }, oneAtATime.withPermit);

      const given = Option.orElse(prebuilt, () =>
        isUnpacked ? Option.some(appFolder) : Option.none(),
      );
      const expected = Effect.gen(function* () {
        const folder = yield* Option.match(given, {
          onNone: () => prepareFolder(appFolder, volume),
          onSome: (path) => onDisk(path, "can't be opened", () => realpath(path)),
        });
        return { resource: yield* Effect.fromOption(name), folder };
      });

      return AppArtifact.of({ locate: locate(), expected: Effect.option(expected) });
    }),
  );
}

/**
 * The folder of an app that is given as a folder, or as an archive, which is unpacked into a temporary folder until the
 * scope closes.
 */
export const openAppFolder = Effect.fn("AppArtifact.openAppFolder")(function* (path: string) {
  const info = yield* onDisk(path, "can't be read", () => stat(path));
  if (info.isDirectory()) return yield* onDisk(path, "can't be read", () => realpath(path));
  const files = yield* FileSystem.FileSystem;
  const limits = yield* Effect.mapError(unpackLimits, ({ message }) =>
    startFailed("locate", withoutStop(message), "Correct the variable."),
  );
  const folder = yield* Effect.mapError(
    files.makeTempDirectoryScoped({ prefix: "worker-tetra-app-" }),
    ({ message }) => startFailed("locate", message, "Free some space."),
  );
  yield* install(folder, path, Duration.zero, limits);
  return folder;
});
