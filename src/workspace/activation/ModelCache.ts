import { join } from "node:path";

import { Effect, type FileSystem, Option } from "effect";

import type { Place } from "../../venv/Place.ts";
import { makeCache } from "../CacheTag.ts";

/** The hub cache of Hugging Face libraries, by their environment variables. */
const hubOf = (environment: Readonly<Record<string, string>>): string | undefined => {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME } = environment;
  return (
    HF_HUB_CACHE ?? HUGGINGFACE_HUB_CACHE ?? (HF_HOME === undefined ? undefined : `${HF_HOME}/hub`)
  );
};

/** Whether a path exists. Links are not followed: their targets may be on a volume that does not respond. */
const isTaken = Effect.fnUntraced(function* (files: FileSystem.FileSystem, path: string) {
  const isLink = Option.isSome(yield* Effect.option(files.readLink(path)));
  return isLink || (yield* files.exists(path));
});

/** Creates a link, unless the path exists. */
const linkIfMissing = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  target: string,
  path: string,
) {
  if (yield* isTaken(files, path)) return;
  // Another worker may create the link at the same time.
  yield* files
    .symlink(target, path)
    .pipe(
      Effect.catch((error) =>
        Effect.flatMap(isTaken(files, path), (taken) => (taken ? Effect.void : Effect.fail(error))),
      ),
    );
});

/** The names in a folder; none if it is a file. */
const namesIn = (files: FileSystem.FileSystem, folder: string) =>
  Effect.orElseSucceed(files.readDirectory(folder), (): ReadonlyArray<string> => []);

/**
 * Adds a model with these revisions to the hub cache. `main` is the chosen revision, or the only one: its commit is not
 * known otherwise.
 */
const linkRevisions = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  store: string,
  model: string,
  chosen: string | undefined,
) {
  if (yield* isTaken(files, model)) return;
  const revisions = yield* namesIn(files, store);
  const main = revisions.find((name) => name === chosen) ?? revisions[0];
  if (main === undefined) return;
  yield* files.makeDirectory(join(model, "snapshots"), { recursive: true });
  for (const revision of revisions) {
    yield* linkIfMissing(files, join(store, revision), join(model, "snapshots", revision));
  }
  if (revisions.length > 1 && main !== chosen) return;
  yield* files.makeDirectory(join(model, "refs"), { recursive: true });
  yield* files.writeFileString(join(model, "refs", "main"), main);
});

/** Links staged models, in folders for their owner, name and revision, into the hub cache, which has another layout. */
const linkStagedModels = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  store: string,
  hub: string,
  revision: string | undefined,
) {
  for (const owner of yield* namesIn(files, store)) {
    for (const name of yield* namesIn(files, join(store, owner))) {
      const model = join(hub, `models--${owner}--${name}`);
      yield* linkRevisions(files, join(store, owner, name), model, revision);
    }
  }
});

/**
 * Links the models that RunPod caches or stages into the hub cache, where Hugging Face libraries find them. The cache folder of
 * old versions of transformers becomes a link to the hub cache, so that no model is stored twice. Existing entries are
 * not changed. Failures are only logged, because jobs can still download their models.
 */
export const linkModels = Effect.fn("ModelCache.linkModels")(
  function* (
    files: FileSystem.FileSystem,
    place: Place,
    environment: Readonly<Record<string, string>>,
  ): Effect.fn.Return<void, unknown> {
    const hub = hubOf(environment);
    const { cachedModels, stagedModels } = place;
    const hasModels = Option.isSome(cachedModels) || stagedModels !== undefined;
    if (hub === undefined || !(place.shared || place.keepsCaches === true || hasModels)) return;

    const home = join(place.caches, ".hf-cache");
    if (hub.startsWith(`${home}/`)) yield* makeCache(files, home);
    yield* files.makeDirectory(hub, { recursive: true });
    const { TRANSFORMERS_CACHE } = environment;
    if (TRANSFORMERS_CACHE === join(place.caches, ".hf-cache", "transformers")) {
      yield* linkIfMissing(files, "hub", TRANSFORMERS_CACHE);
    }
    if (Option.isSome(cachedModels)) {
      for (const name of yield* files.readDirectory(cachedModels.value)) {
        if (name.startsWith("models--")) {
          yield* linkIfMissing(files, join(cachedModels.value, name), join(hub, name));
        }
      }
    }
    if (stagedModels !== undefined) {
      yield* linkStagedModels(files, stagedModels, hub, environment["MODEL_REVISION"]);
    }
  },
  Effect.catch((error) => Effect.logWarning("Could not link RunPod's cached models", error)),
);
