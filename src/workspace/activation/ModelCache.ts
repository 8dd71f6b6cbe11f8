import { join } from "node:path";

import { Effect, type FileSystem, Option } from "effect";

import type { Place } from "../../venv/Place.ts";
import { makeCache } from "../CacheTag.ts";

/** Where the hub's libraries will look, by the variables that they go by. */
const hubOf = (environment: Readonly<Record<string, string>>): string | undefined => {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME } = environment;
  return (
    HF_HUB_CACHE ?? HUGGINGFACE_HUB_CACHE ?? (HF_HOME === undefined ? undefined : `${HF_HOME}/hub`)
  );
};

/**
 * Makes the models that RunPod caches found by Hugging Face libraries, by links in the hub cache, and lets the
 * folder of old versions of transformers be the hub cache itself, so that no model is kept twice. Nothing that
 * is there already is touched; what fails is logged, for jobs can fetch their models yet.
 */
export const linkModels = Effect.fn("ModelCache.linkModels")(
  function* (
    files: FileSystem.FileSystem,
    place: Place,
    environment: Readonly<Record<string, string>>,
  ): Effect.fn.Return<void, unknown> {
    const hub = hubOf(environment);
    if (hub === undefined || !(place.shared || Option.isSome(place.cachedModels))) return;

    const link = Effect.fnUntraced(function* (target: string, name: string) {
      const isThere = Option.isSome(yield* Effect.option(files.readLink(name)));
      if (isThere || (yield* files.exists(name))) return;
      // Another worker may do the same at this moment.
      yield* files
        .symlink(target, name)
        .pipe(
          Effect.catch((error) =>
            Effect.flatMap(files.exists(name), (now) => (now ? Effect.void : Effect.fail(error))),
          ),
        );
    });

    const home = join(place.caches, ".hf-cache");
    if (hub.startsWith(`${home}/`)) yield* makeCache(files, home);
    yield* files.makeDirectory(hub, { recursive: true });
    const { TRANSFORMERS_CACHE } = environment;
    if (TRANSFORMERS_CACHE === join(place.caches, ".hf-cache", "transformers")) {
      yield* link("hub", TRANSFORMERS_CACHE);
    }
    if (Option.isNone(place.cachedModels)) return;
    const source = place.cachedModels.value;
    for (const name of yield* files.readDirectory(source)) {
      if (name.startsWith("models--")) {
        yield* link(join(source, name), join(hub, name));
      }
    }
  },
  Effect.catch((error) => Effect.logWarning("RunPod's cached models could not be linked", error)),
);
