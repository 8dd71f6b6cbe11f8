import { Effect, FileSystem, Option, Ref } from "effect";

import { isFile } from "../../platform/ProgramPath.ts";
import { Environment } from "../../settings/Environment.ts";

/**
 * By default, uv also reads configuration files in folders that jobs, also of other endpoints, can write to: an index
 * in such a file would receive the credentials of the environment. A file named by `UV_CONFIG_FILE` is still read.
 */
const NO_CONFIGURATION = { UV_NO_CONFIG: "1" } as const;

/** The configuration of the machine, which may come from the image. */
const SYSTEM_CONFIGURATION = "/etc/uv/uv.toml";

/**
 * With hard links, which uv prefers, a job that edits an installed module edits the cache, and with it the
 * module of every virtual environment. File systems that can share blocks of copies do that for `copy` too.
 */
export const LINK_MODE = "copy";

/** The variables that uv gets beside those of all programs. */
export const uvEnvironment = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const { forPrograms } = yield* Environment;
  const hasWarned = yield* Ref.make(false);

  const configuration = yield* Effect.cached(
    Effect.map(isFile(files, SYSTEM_CONFIGURATION), (exists) =>
      exists && forPrograms["UV_CONFIG_FILE"] === undefined
        ? { ...NO_CONFIGURATION, UV_CONFIG_FILE: SYSTEM_CONFIGURATION }
        : NO_CONFIGURATION,
    ),
  );

  /** uv writes through links, and fails where its cache is a file: another endpoint may have put one there. */
  const cacheOption = Effect.fnUntraced(function* (cache: string | undefined) {
    // The user's own folder may be a link.
    if (cache === undefined || cache === forPrograms["UV_CACHE_DIR"]) return {};
    const info = yield* Effect.option(files.lstat(cache));
    if (Option.isNone(info) || info.value.type === "Directory") return {};
    if (!(yield* Ref.getAndSet(hasWarned, true))) {
      yield* Effect.logWarning(
        `${cache} is not a folder (links are not followed): uv works without a cache. Remove what is in its place.`,
      );
    }
    return { UV_NO_CACHE: "1" };
  });

  return Effect.fnUntraced(function* (given: Readonly<Record<string, string>>) {
    return {
      ...(forPrograms["UV_LINK_MODE"] === undefined ? { UV_LINK_MODE: LINK_MODE } : {}),
      ...given,
      ...(yield* cacheOption(given["UV_CACHE_DIR"])),
      ...(yield* configuration),
      UV_PYTHON_DOWNLOADS: "never",
      // A job's packages may install programs of any name, so its environment is not searched for them.
      PATH: forPrograms["PATH"] ?? "/usr/local/bin:/usr/bin:/bin",
    };
  });
});
