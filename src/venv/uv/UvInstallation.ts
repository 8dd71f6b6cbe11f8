import { randomUUID } from "node:crypto";
import { join } from "node:path";

import { Effect, FileSystem, Schema } from "effect";

import { Programs } from "../../platform/Programs.ts";
import { diskFault } from "../../platform/files/DiskFault.ts";
import { writableCache } from "../../platform/files/Writability.ts";
import { Environment } from "../../settings/Environment.ts";
import { Interpreters } from "../Interpreters.ts";
import versions from "../versions.json" with { type: "json" };

/** The version that is installed where there is none; the only place that names it. */
const VERSION = versions.uv;

/**
 * The current directory of uv and pip. Programs find files by it (configuration, names of archives, Python's
 * modules), and jobs write to the workspace.
 */
export const DIRECTORY = "/";

/** uv is neither there nor could it be installed. */
export class UvUnavailable extends Schema.TaggedError<UvUnavailable>()("UvUnavailable", {
  reason: Schema.String,
}) {
  override get message(): string {
    return `uv, which makes virtual environments, is not on PATH and could not be brought. Install it (pip install uv==${VERSION}), or one of python3-pip and python3-venv so that it can come by itself. ${this.reason}`;
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

/** Downloads uv with the pip of an interpreter, else with the pip of a virtual environment of it. */
const uvDownload = Effect.gen(function* () {
  const programs = yield* Programs;
  const { forPrograms } = yield* Environment;

  return Effect.fnUntraced(function* (executable: string, work: string, folder: string) {
    // Replaces the file in the user's folder, which jobs can write; the system's file is still read.
    const configuration = forPrograms["PIP_CONFIG_FILE"] ?? join(work, "pip.conf");
    const options = { directory: DIRECTORY, environment: { PIP_CONFIG_FILE: configuration } };
    const venv = join(work, "venv");
    yield* programs.run(executable, pipInstall(folder), options).pipe(
      Effect.catch((withoutVenv) =>
        programs.run(executable, ["-I", "-m", "venv", venv], { directory: DIRECTORY }).pipe(
          Effect.andThen(programs.run(join(venv, "bin", "python"), pipInstall(folder), options)),
          Effect.mapError(
            ({ message }) => new UvUnavailable({ reason: `${withoutVenv.message}\n${message}` }),
          ),
        ),
      ),
    );
  });
});

/** Installs uv with pip into the cache of this user, once for all workers. */
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
   * Gives a complete download the name that workers look for. One that another worker installed meanwhile is kept,
   * one that does not run is moved to `broken`; a folder can't be replaced in one step.
   */
  const publish = (downloaded: string, broken: string) =>
    files.rename(downloaded, installed).pipe(
      Effect.catch((error) =>
        Effect.gen(function* () {
          if (yield* isRunnable(command)) return;
          yield* Effect.mapError(files.rename(installed, broken), () => error);
          yield* files.rename(downloaded, installed);
        }),
      ),
    );

  const install = Effect.fn("Uv.install")(
    function* () {
      const { executable } = yield* interpreters.base;
      // Several workers may do this at once, each in a folder of its own.
      const work = join(tools, `.uv-${randomUUID()}`);
      const downloaded = join(work, "uv");
      yield* Effect.logInfo(`Bringing uv ${VERSION}`);
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
    /** Where uv is after it was installed. */
    command,
    isRunnable,
    install,
  };
});
