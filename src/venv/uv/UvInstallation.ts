import { randomUUID } from "node:crypto";
import { join } from "node:path";

import { Effect, FileSystem, Schema } from "effect";

import { diskFault } from "../../platform/files/DiskFault.ts";
import { writableCache } from "../../platform/files/Writability.ts";
import { Programs } from "../../platform/programs/Programs.ts";
import { Environment } from "../../settings/Environment.ts";
import { Interpreters } from "../Interpreters.ts";
import versions from "../versions.json" with { type: "json" };

/** The version that is installed if uv is missing. */
const VERSION = versions.uv;

/**
 * The current directory of uv and pip. They read files from it (configuration, archives, Python modules), so it must
 * not be the workspace, where jobs can write.
 */
export const DIRECTORY = "/";

/** uv is missing and could not be installed. */
export class UvUnavailable extends Schema.TaggedError<UvUnavailable>()("UvUnavailable", {
  reason: Schema.String,
}) {
  override get message(): string {
    return `Could not install uv, which is not on PATH. Install it (pip install uv==${VERSION}), or install python3-pip or python3-venv, with which the worker can install it. ${this.reason}`;
  }
}

const unavailable = (error: { readonly message: string }) =>
  Effect.fail(new UvUnavailable({ reason: error.message }));

const pipInstall = (folder: string): ReadonlyArray<string> => [
  "-I",
  "-m",
  "pip",
  "install",
  "--quiet",
  "--disable-pip-version-check",
  "--no-input",
  "--no-deps",
  "--only-binary",
  ":all:",
  "--target",
  folder,
  `uv==${VERSION}`,
];

/** Runs the second effect if the first one fails. If both fail, the error has both reasons. */
const withFallback = <E1 extends Error, R1, E2 extends Error, R2>(
  first: Effect.Effect<unknown, E1, R1>,
  second: Effect.Effect<unknown, E2, R2>,
) =>
  Effect.catch(first, (firstError) =>
    Effect.mapError(
      second,
      ({ message }) => new UvUnavailable({ reason: `${firstError.message}\n${message}` }),
    ),
  );

/** Downloads uv with the interpreter's pip, or if that fails with the pip of a new venv. */
const uvDownload = Effect.gen(function* () {
  const programs = yield* Programs;
  const { forPrograms } = yield* Environment;

  return Effect.fnUntraced(function* (executable: string, work: string, folder: string) {
    // Replaces the configuration in the user's folder, where jobs can write. The system's configuration is still read.
    const configuration = forPrograms["PIP_CONFIG_FILE"] ?? join(work, "pip.conf");
    const options = { directory: DIRECTORY, environment: { PIP_CONFIG_FILE: configuration } };
    const venv = join(work, "venv");
    const pip = programs.run(executable, pipInstall(folder), options);
    const pipOfVenv = programs
      .run(executable, ["-I", "-m", "venv", venv], { directory: DIRECTORY })
      .pipe(Effect.andThen(programs.run(join(venv, "bin", "python"), pipInstall(folder), options)));
    yield* withFallback(pip, pipOfVenv);
  });
});

/** Installs uv with pip into the user's cache folder, once for all workers. */
export const uvInstallation = Effect.gen(function* () {
  const programs = yield* Programs;
  const files = yield* FileSystem.FileSystem;
  const interpreters = yield* Interpreters;
  const download = yield* uvDownload;

  const tools = join(yield* writableCache, "tools");
  const installed = join(tools, `uv-${VERSION}`);
  const command = join(installed, "bin", "uv");

  const isRunnable = (program: string) =>
    programs.run(program, ["--version"]).pipe(
      Effect.as(true),
      Effect.orElseSucceed(() => false),
    );

  /**
   * Renames a complete download to its final path. If another worker installed uv meanwhile, that one is kept, unless
   * it does not run: then it is moved to `broken`, since a folder can't be replaced atomically.
   */
  const publish = Effect.fnUntraced(function* (downloaded: string, broken: string) {
    const renamed = yield* Effect.result(files.rename(downloaded, installed));
    if (renamed._tag === "Success" || (yield* isRunnable(command))) return;
    yield* Effect.mapError(files.rename(installed, broken), () => renamed.failure);
    yield* files.rename(downloaded, installed);
  });

  const install = Effect.fn("Uv.install")(
    function* () {
      const { executable } = yield* interpreters.base;
      // Several workers may do this at once, each in a separate folder.
      const work = join(tools, `.uv-${randomUUID()}`);
      const downloaded = join(work, "uv");
      yield* Effect.logInfo(`Installing uv ${VERSION}`);
      yield* Effect.gen(function* () {
        yield* files.makeDirectory(work, { recursive: true });
        yield* files.writeFileString(join(work, "pip.conf"), "");
        yield* download(executable, work, downloaded);
        yield* publish(downloaded, join(work, "broken"));
      }).pipe(Effect.ensuring(Effect.ignore(files.remove(work, { recursive: true, force: true }))));
      return command;
    },
    Effect.catchTags({
      PlatformError: (error) => unavailable(diskFault(tools, "can't be written")(error)),
      PythonNotFound: unavailable,
    }),
  );

  return {
    /** The path of uv after the installation. */
    command,
    isRunnable,
    install,
  };
});
