import { randomUUID } from "node:crypto";
import { join } from "node:path";

import { Duration, Effect, FileSystem, Option } from "effect";

import { diskFault } from "../../platform/files/DiskFault.ts";
import { REMOVING, removeFolder } from "../../platform/files/Removal.ts";
import type { ProgramFailed } from "../../platform/programs/Programs.ts";
import { withoutCredentials } from "../../settings/Credentials.ts";
import { Environment } from "../../settings/Environment.ts";
import { wallMillis } from "../../settings/SteadyClock.ts";
import { InstallCheck, needsRetryWithoutCache } from "../InstallCheck.ts";
import { Interpreters } from "../Interpreters.ts";
import { type Place, venvsFolder } from "../Place.ts";
import { Uv } from "../Uv.ts";
import { sitePackages, type Venv, type VenvRecords } from "../Venv.ts";
import { venvAt } from "../VenvFinder.ts";
import { BUILDING, LINKING, type VenvName } from "../VenvNames.ts";
import type { VenvSource } from "../VenvSource.ts";
import { registerImagePackages } from "../image/ImagePackages.ts";
import { hideReplaced } from "../image/ReplacedPackages.ts";
import { generationTag, taggedGeneration } from "../leases/Generation.ts";
import { withBasePackages } from "./BasePackages.ts";
import { VenvCreationFailed } from "./VenvCreationFailed.ts";

/** Environment variables of uv for a build. */
const uvVariables = (
  { shared, keepsCaches, caches }: Place,
  cache: boolean,
  isSet: Environment["Service"]["has"],
): Readonly<Record<string, string>> => ({
  ...((shared || keepsCaches === true) && !isSet("UV_CACHE_DIR")
    ? { UV_CACHE_DIR: join(caches, ".uv-cache") }
    : {}),
  ...(cache ? {} : { UV_NO_CACHE: "1" }),
});

/** Workers of earlier generations that were stopped may resume, but not after this time. */
const ABANDONED_AFTER = Duration.hours(1);

const isOlderThan = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  path: string,
  age: Duration.Duration,
) {
  const { mtime } = yield* files.lstat(path);
  const now = yield* wallMillis;
  return Option.exists(mtime, (date) => now - date.getTime() > Duration.toMillis(age));
});

/**
 * Removes what killed workers have left. The caller holds the lock of a generation, so no other build of that
 * generation is running.
 */
export const removeUnfinished = Effect.fnUntraced(
  function* (files: FileSystem.FileSystem, parent: string, generation: number) {
    for (const name of yield* files.readDirectory(parent)) {
      const path = join(parent, name);
      if (name.startsWith(REMOVING)) {
        yield* files.remove(path, { recursive: true, force: true });
      } else if (name.startsWith(BUILDING)) {
        const built = taggedGeneration(name.slice(BUILDING.length));
        const isAbandoned =
          built < generation
            ? yield* isOlderThan(files, path, ABANDONED_AFTER)
            : built === generation;
        if (isAbandoned) yield* removeFolder(files, path);
      } else if (name.startsWith(LINKING) && (yield* isOlderThan(files, path, ABANDONED_AFTER))) {
        yield* files.remove(path, { force: true });
      }
    }
  },
  Effect.catch((error) =>
    Effect.logDebug(`Could not remove unfinished virtual environments: ${error.message}`),
  ),
);

/** What to install in a venv, and how. */
interface Contents {
  readonly requirements: ReadonlyArray<string>;
  /** Package folders of the image. */
  readonly imageFolders: ReadonlyArray<string>;
  /** Environment variables of uv. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Creates a relocatable venv in a folder and installs all packages. */
const install = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  uv: Uv["Service"],
  folder: string,
  venv: Venv,
  { requirements, imageFolders: folders, environment }: Contents,
) {
  const failed = (step: string) => (error: ProgramFailed) =>
    Effect.fail(new VenvCreationFailed({ path: venv.prefix, step, output: error.output }));
  const built = {
    prefix: folder,
    sitePackages: sitePackages(folder, venv.version),
    python: join(folder, "bin", "python"),
    folders,
  };
  const packages = withBasePackages(requirements);
  const { executable } = venv.base;
  yield* uv
    .run(["venv", "--quiet", "--no-project", "--relocatable", "--python", executable, folder], {
      environment,
    })
    .pipe(Effect.catchTag("ProgramFailed", failed("uv venv")));
  if (folders.length > 0) yield* registerImagePackages(files, built.sitePackages, folders);
  const step = `installing ${packages.map(withoutCredentials).join(", ")}`;
  yield* uv
    .run(["pip", "install", "--python", built.python, "--", ...packages], {
      environment,
      live: true,
    })
    .pipe(Effect.catchTag("ProgramFailed", failed(step)));
  if (folders.length > 0) yield* hideReplaced(files, uv, built, { environment });
});

/**
 * Builds venvs under a temporary name and renames them when complete, so that no worker uses an incomplete one.
 * `replaceAtomically` does not apply: the name is new, and a failed build leaves a folder, not a file.
 */
export const venvBuild = Effect.fnUntraced(function* ({ markComplete }: VenvRecords) {
  const files = yield* FileSystem.FileSystem;
  const interpreters = yield* Interpreters;
  const uv = yield* Uv;
  const check = yield* InstallCheck;
  const { has: isSet } = yield* Environment;

  /** Package folders of the image. */
  const imageFolders = Effect.fnUntraced(function* ({ image }: VenvSource) {
    if (Option.isNone(image)) return [];
    return (yield* interpreters.facts(image.value.executable)).sitePackages;
  });

  const attempt = Effect.fnUntraced(function* (
    place: Place,
    venv: Venv,
    contents: Omit<Contents, "environment">,
    usesCache: boolean,
  ) {
    const environment = uvVariables(place, usesCache, isSet);
    const unique = `${generationTag(venv.generation)}${randomUUID()}`;
    const prefix = join(venvsFolder(place), `${BUILDING}${unique}`);
    const watched = yield* check.watch({ prefix, version: venv.version }, environment);
    yield* install(files, uv, prefix, venv, { ...contents, environment }).pipe(
      Effect.andThen(watched.verify),
      Effect.andThen(markComplete(prefix, contents.requirements)),
      Effect.andThen(files.rename(prefix, venv.prefix)),
      Effect.catchTag("PlatformError", (error) =>
        Effect.fail(diskFault(venv.prefix, "can't be written")(error)),
      ),
      watched.explain,
      Effect.onError(() => Effect.ignore(files.remove(prefix, { recursive: true, force: true }))),
    );
    return venv;
  });

  return Effect.fnUntraced(function* (
    place: Place,
    source: VenvSource,
    { generation, number }: Pick<VenvName, "generation" | "number">,
    requirements: ReadonlyArray<string>,
    cache: boolean,
  ) {
    const { version } = yield* interpreters.facts(source.base.executable);
    const { fingerprint } = source;
    const venv = venvAt(place, { version, fingerprint, generation, number }, source);
    yield* Effect.logInfo(`Building the virtual environment ${venv.prefix}`);
    const contents = { requirements, imageFolders: yield* imageFolders(source) };
    const withoutCache = attempt(place, venv, contents, false);
    if (!cache) return yield* withoutCache;
    return yield* Effect.catchIf(
      attempt(place, venv, contents, true),
      needsRetryWithoutCache,
      ({ message }) =>
        Effect.andThen(
          Effect.logInfo(`${message} Building it again without uv's cache.`),
          withoutCache,
        ),
    );
  });
});
