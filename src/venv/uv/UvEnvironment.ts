import { Effect, FileSystem, Option, Ref } from "effect";

import { isFile } from "../../platform/programs/ProgramPath.ts";
import { Environment } from "../../settings/Environment.ts";

/**
 * By default uv reads configuration files in folders that jobs of all endpoints can write to. An index in such a file
 * would receive credentials from the environment variables. A file named by `UV_CONFIG_FILE` is still read.
 */
const NO_CONFIGURATION = { UV_NO_CONFIG: "1" } as const;

/** The system's configuration, which the image may provide. */
export const SYSTEM_CONFIGURATION = "/etc/uv/uv.toml";

/**
 * uv's default is hard links, with which a job that edits an installed module also edits the cache and every other
 * venv. File systems with copy-on-write share the blocks of copies too.
 */
export const LINK_MODE = "copy";

/** Environment variables of uv, in addition to those of all programs. */
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

  /** uv follows links in its cache, and fails if the cache is a file. Another endpoint may have created either. */
  const cacheOption = Effect.fnUntraced(function* (cache: string | undefined) {
    // A folder that the user has set may be a link.
    if (cache === undefined || cache === forPrograms["UV_CACHE_DIR"]) return {};
    const info = yield* Effect.option(files.lstat(cache));
    if (Option.isNone(info) || info.value.type === "Directory") return {};
    if (!(yield* Ref.getAndSet(hasWarned, true))) {
      yield* Effect.logWarning(
        `${cache} is not a folder (links are not followed): running uv without a cache. Delete ${cache} to enable the cache.`,
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
      // Without the venv's `bin`, where packages may install programs of any name.
      PATH: forPrograms["PATH"] ?? "/usr/local/bin:/usr/bin:/bin",
    };
  });
});
