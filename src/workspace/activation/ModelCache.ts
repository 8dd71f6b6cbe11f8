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

/** Creates a link, unless the path exists. */
const linkIfMissing = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  target: string,
  path: string,
) {
  const isLink = Option.isSome(yield* Effect.option(files.readLink(path)));
  if (isLink || (yield* files.exists(path))) return;
  // Another worker may create the link at the same time.
  yield* files
    .symlink(target, path)
    .pipe(
      Effect.catch((error) =>
        Effect.flatMap(files.exists(path), (exists) => (exists ? Effect.void : Effect.fail(error))),
      ),
    );
});

/**
 * Links the models that RunPod caches into the hub cache, where Hugging Face libraries find them. The cache folder of
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
    if (hub === undefined || !(place.shared || Option.isSome(place.cachedModels))) return;

    const home = join(place.caches, ".hf-cache");
    if (hub.startsWith(`${home}/`)) yield* makeCache(files, home);
    yield* files.makeDirectory(hub, { recursive: true });
    const { TRANSFORMERS_CACHE } = environment;
    if (TRANSFORMERS_CACHE === join(place.caches, ".hf-cache", "transformers")) {
      yield* linkIfMissing(files, "hub", TRANSFORMERS_CACHE);
    }
    if (Option.isNone(place.cachedModels)) return;
    const source = place.cachedModels.value;
    for (const name of yield* files.readDirectory(source)) {
      if (name.startsWith("models--")) {
        yield* linkIfMissing(files, join(source, name), join(hub, name));
      }
    }
  },
  Effect.catch((error) => Effect.logWarning("Could not link RunPod's cached models", error)),
);
