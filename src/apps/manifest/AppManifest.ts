import { open, realpath } from "node:fs/promises";
import { join } from "node:path";

import { Effect, Option, Schema } from "effect";

import type { AppResource } from "../../domain/DeployedApp.ts";
import { codeOf } from "../../platform/ErrorCode.ts";
import { diskFault } from "../../platform/files/DiskFault.ts";
import { assertFile } from "../../platform/files/safe/SafePaths.ts";
import { SDK_CONCURRENCY } from "../../settings/Concurrency.ts";
import { excerpt } from "../../settings/Excerpt.ts";
import { type AppStartFailed, startFailed, withoutStop } from "../AppStartFailed.ts";
import type { App } from "./App.ts";
import { FLASH_MANIFEST, flashApp, FlashManifest, flashResources } from "./FlashManifest.ts";
import { assertResourceName } from "./ResourceName.ts";
import { SDK_MANIFEST, sdkApp, SdkManifest, sdkResources } from "./SdkManifest.ts";

/** In bytes; manifests have a few KB. */
const MAX_SIZE = 16 * 1024 * 1024;

/** In characters: how much of a schema error is shown. */
const MAX_PROBLEM = 500;

const REBUILD = "Build and deploy the app again with a supported version of the client.";

const readText = async (path: string): Promise<string> => {
  const handle = await open(path);
  try {
    const { size } = await assertFile(handle, path);
    if (size > MAX_SIZE) throw new Error(`it is larger than ${MAX_SIZE} bytes`);
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
};

/** Reads and decodes a manifest; none if the file does not exist. */
const readManifest = <A>(schema: Schema.ConstraintDecoder<A>) => {
  const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(schema));
  return Effect.fnUntraced(function* (folder: string, name: string) {
    const path = join(folder, name);
    const text = yield* Effect.tryPromise({
      try: () => readText(path),
      catch: (error) => ({ code: codeOf(error), fault: diskFault(path, "can't be read")(error) }),
    }).pipe(
      Effect.asSome,
      Effect.catchIf(
        ({ code }) => code === "ENOENT",
        () => Effect.succeedNone,
      ),
      Effect.mapError(({ fault }) => startFailed("locate", fault.summary, REBUILD)),
    );
    if (Option.isNone(text)) return Option.none<A>();
    return Option.some(
      yield* Effect.mapError(decode(text.value), ({ message }) => {
        const problem = excerpt(message.replaceAll(/\s+/g, " "), MAX_PROBLEM);
        return startFailed("locate", `${path} is invalid: ${problem}`, REBUILD);
      }),
    );
  });
};

const readSdk = readManifest(SdkManifest);
const readFlash = readManifest(FlashManifest);

const noManifest = (folder: string) =>
  startFailed(
    "locate",
    `${folder} contains no app: it has neither ${SDK_MANIFEST} nor ${FLASH_MANIFEST}`,
    "Build the app with `flash build` or `rp flash deploy`.",
  );

/** The manifest of either client in an app folder. */
const read = Effect.fnUntraced(function* <A>(
  folder: string,
  uses: {
    readonly sdk: (manifest: SdkManifest) => A;
    readonly flash: (manifest: FlashManifest) => A;
  },
) {
  const sdk = yield* readSdk(folder, SDK_MANIFEST);
  if (Option.isSome(sdk)) return uses.sdk(sdk.value);
  const flash = yield* readFlash(folder, FLASH_MANIFEST);
  if (Option.isSome(flash)) return uses.flash(flash.value);
  return yield* noManifest(folder);
});

type ListedResource = Pick<AppResource, "client" | "name" | "kind">;

/** The resources of an app that a worker can serve. */
export const listResources = (
  folder: string,
): Effect.Effect<ReadonlyArray<ListedResource>, AppStartFailed> =>
  read<ReadonlyArray<ListedResource>>(folder, { sdk: sdkResources, flash: flashResources });

const realFolder = (folder: string) =>
  Effect.tryPromise({
    try: () => realpath(folder),
    catch: (error) => {
      const { summary, advice = "Check the folder" } = diskFault(folder, "can't be opened")(error);
      return startFailed("locate", summary, `${advice}.`);
    },
  });

/** Reads the manifest of an unpacked app. */
export const readApp = Effect.fn("AppManifest.readApp")(function* (
  folder: string,
  resource: string,
): Effect.fn.Return<App, AppStartFailed> {
  yield* assertResourceName(resource);
  const concurrency = yield* Effect.mapError(SDK_CONCURRENCY.value, ({ message }) =>
    startFailed("locate", withoutStop(message), "Correct the endpoint's environment."),
  );
  const real = yield* realFolder(folder);
  return yield* Effect.flatten(
    read<Effect.Effect<App, AppStartFailed>>(real, {
      sdk: (manifest) => sdkApp(real, manifest, resource, concurrency),
      flash: (manifest) => flashApp(real, manifest, resource),
    }),
  );
});
