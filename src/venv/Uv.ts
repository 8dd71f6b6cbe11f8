import { randomUUID } from "node:crypto";

import { Context, Effect, FileSystem, Layer, Option, Path, Schema } from "effect";

import { type ProgramFailed, Programs } from "../platform/Programs.ts";
import { diskFault } from "../platform/files/DiskFault.ts";
import { writableCache } from "../platform/files/Writability.ts";
import { Environment } from "../settings/Environment.ts";
import { Interpreters } from "./Interpreters.ts";

/** The version that is brought where there is none; the only place that names it. */
const VERSION = "0.13.9";

/** uv is neither there nor could it be brought. */
export class UvUnavailable extends Schema.TaggedError<UvUnavailable>()("UvUnavailable", {
  reason: Schema.String,
}) {
  override get message(): string {
    return `uv, which makes virtual environments, is not on PATH and could not be brought. Install it (pip install uv==${VERSION}), or one of python3-pip and python3-venv so that it can come by itself. ${this.reason}`;
  }
}

const unavailable = (error: { readonly message: string }) =>
  Effect.fail(new UvUnavailable({ reason: error.message }));

/** How uv is to be run. */
interface UvOptions {
  readonly environment: Readonly<Record<string, string>>;
  /** Tells what uv does in the log, as it happens. */
  readonly live?: boolean;
  /** An open file to inherit, so that a lock on it stays for as long as uv is at work. */
  readonly descriptor?: number | undefined;
}

/**
 * Programs find files by their current directory (configuration, names of archives, Python's modules), and
 * jobs write to the workspace.
 */
const DIRECTORY = "/";

/**
 * By default, uv also reads configuration files in folders that jobs, also of other endpoints, can write to: an index
 * in such a file would receive the credentials of the environment. A file named by `UV_CONFIG_FILE` is still read.
 */
const NO_CONFIGURATION = { UV_NO_CONFIG: "1" } as const;

/** The configuration of the machine, which may come from the image. */
const SYSTEM_CONFIGURATION = "/etc/uv/uv.toml";

/**
 * With hard links, which uv prefers, a job that edits an installed module edits the cache, and with it the
 * module of every environment. File systems that can share blocks of copies do that for `copy` too.
 */
export const LINK_MODE = "copy";

/** Linux ends a program with the one that started it, if that is asked for. */
const WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"] as const;

/** Finds uv, or brings it once for all workers of this user. */
export class Uv extends Context.Service<
  Uv,
  {
    /** The command to run. */
    readonly command: Effect.Effect<string, UvUnavailable>;
    /** Runs uv on an environment; it dies with the worker where the system can do that. What it wrote to stdout. */
    readonly run: (
      args: ReadonlyArray<string>,
      options: UvOptions,
    ) => Effect.Effect<string, ProgramFailed | UvUnavailable>;
  }
>()("worker-tetra/venv/Uv") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const programs = yield* Programs;
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const python = yield* Interpreters;
      const { forPrograms } = yield* Environment;

      const tools = path.join(yield* writableCache, "tools");
      const brought = path.join(tools, `uv-${VERSION}`);
      const ofTools = (folder: string) => path.join(folder, "bin", "uv");
      const isThere = (command: string) =>
        programs.run(command, ["--version"]).pipe(
          Effect.as(true),
          Effect.orElseSucceed(() => false),
        );

      /** Installs uv into the folder with the pip of an interpreter. */
      const install = (interpreter: string, folder: string, configuration: string) =>
        programs.run(
          interpreter,
          [
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
          ],
          { directory: DIRECTORY, environment: { PIP_CONFIG_FILE: configuration } },
        );

      /** Gives a whole uv the name that workers look for; one that does not run makes room. */
      const keep = (fetched: string, aside: string) =>
        files.rename(fetched, brought).pipe(
          Effect.catch((error) =>
            Effect.gen(function* () {
              if (yield* isThere(ofTools(brought))) return;
              yield* Effect.mapError(files.rename(brought, aside), () => error);
              yield* files.rename(fetched, brought);
            }),
          ),
        );

      const bring = Effect.fn("Uv.bring")(function* () {
        const { executable } = yield* python.base;
        // Several workers may do this at once: each has a folder of its own, and one of them gets the name.
        const work = path.join(tools, `.uv-${randomUUID()}`);
        const fetched = path.join(work, "uv");
        const venv = path.join(work, "venv");
        // Replaces the file in the user's folder, which jobs can write; the system's file is still read.
        const configuration = forPrograms["PIP_CONFIG_FILE"] ?? path.join(work, "pip.conf");
        yield* Effect.logInfo(`Bringing uv ${VERSION}`);
        yield* Effect.gen(function* () {
          yield* files.makeDirectory(work, { recursive: true });
          yield* files.writeFileString(path.join(work, "pip.conf"), "");
          yield* install(executable, fetched, configuration).pipe(
            Effect.catch((withoutVenv) =>
              programs.run(executable, ["-I", "-m", "venv", venv], { directory: DIRECTORY }).pipe(
                Effect.andThen(install(path.join(venv, "bin", "python"), fetched, configuration)),
                Effect.mapError(
                  (error) =>
                    new UvUnavailable({ reason: `${withoutVenv.message}\n${error.message}` }),
                ),
              ),
            ),
          );
          yield* keep(fetched, path.join(work, "broken"));
        }).pipe(
          Effect.ensuring(Effect.ignore(files.remove(work, { recursive: true, force: true }))),
        );
        return ofTools(brought);
      });

      const find = Effect.gen(function* () {
        if (yield* isThere("uv")) return "uv";
        if (yield* isThere(ofTools(brought))) return ofTools(brought);
        return yield* bring().pipe(
          Effect.catchTags({
            PlatformError: (error) => unavailable(diskFault(tools, "can't be written")(error)),
            PythonNotFound: unavailable,
          }),
        );
      }).pipe(Effect.withSpan("Uv.find"));

      // Kept once found; a failure is tried again by the next who asks.
      const [cached, forget] = yield* Effect.cachedInvalidateWithTTL(find, Infinity);
      const command = Effect.tapError(cached, () => forget);

      const [setpriv, ...itsArgs] = WITH_PARENT;
      const canDieWithParent = yield* Effect.cached(
        programs.run(setpriv, [...itsArgs, "true"]).pipe(
          Effect.as(true),
          Effect.orElseSucceed(() => false),
        ),
      );

      const isFile = (file: string) =>
        Effect.orElseSucceed(
          Effect.map(files.stat(file), ({ type }) => type === "File"),
          () => false,
        );
      const isOnPath = (program: string) =>
        Effect.filter(
          (forPrograms["PATH"] ?? "").split(":"),
          (folder) => isFile(path.join(folder, program)),
          { concurrency: "unbounded" },
        ).pipe(Effect.map(({ length }) => length > 0));

      /** Both as far as files tell: asking them costs as much time as some of their work. */
      const likely = yield* Effect.cached(
        Effect.gen(function* () {
          const before = (yield* isOnPath(setpriv)) ? WITH_PARENT : [];
          if (yield* isOnPath("uv")) return [...before, "uv"];
          return (yield* isFile(ofTools(brought))) ? [...before, ofTools(brought)] : undefined;
        }),
      );
      const sure = Effect.map(Effect.all([command, canDieWithParent]), ([uv, can]) =>
        can ? [...WITH_PARENT, uv] : [uv],
      );
      let isSure = false;

      const configuration = yield* Effect.cached(
        Effect.map(isFile(SYSTEM_CONFIGURATION), (isThere) =>
          isThere && forPrograms["UV_CONFIG_FILE"] === undefined
            ? { ...NO_CONFIGURATION, UV_CONFIG_FILE: SYSTEM_CONFIGURATION }
            : NO_CONFIGURATION,
        ),
      );

      let hasWarned = false;
      /** uv writes through links, and fails where its cache is a file: another endpoint may have put one there. */
      const cacheOption = Effect.fnUntraced(function* (cache: string | undefined) {
        // The user's own folder may be a link.
        if (cache === undefined || cache === forPrograms["UV_CACHE_DIR"]) return {};
        const info = yield* Effect.option(files.lstat(cache));
        if (Option.isNone(info) || info.value.type === "Directory") return {};
        if (!hasWarned) {
          hasWarned = true;
          yield* Effect.logWarning(
            `${cache} is not a folder (links are not followed): uv works without a cache. Remove what is in its place.`,
          );
        }
        return { UV_NO_CACHE: "1" };
      });

      const run: Uv["Service"]["run"] = Effect.fn("Uv.run")(function* (args, options) {
        const environment = {
          ...(forPrograms["UV_LINK_MODE"] === undefined ? { UV_LINK_MODE: LINK_MODE } : {}),
          ...options.environment,
          ...(yield* cacheOption(options.environment["UV_CACHE_DIR"])),
          ...(yield* configuration),
          UV_PYTHON_DOWNLOADS: "never",
          // A job's packages may install programs of any name, so its environment is not searched for them.
          PATH: forPrograms["PATH"] ?? "/usr/local/bin:/usr/bin:/bin",
        };
        const attempt = ([program = "uv", ...before]: ReadonlyArray<string>) =>
          programs.run(program, [...before, ...args], {
            directory: DIRECTORY,
            environment,
            ...(options.live === true ? { live: { stream: "stderr", name: "uv" } } : {}),
            ...(options.descriptor === undefined ? {} : { descriptor: options.descriptor }),
          });
        const tried = isSure ? undefined : yield* likely;
        if (tried === undefined) return yield* attempt(yield* sure);
        return yield* Effect.catchTag(
          attempt(tried),
          "ProgramFailed",
          Effect.fnUntraced(function* (error) {
            const found = yield* sure;
            isSure = true;
            return found.join(" ") === tried.join(" ") ? yield* error : yield* attempt(found);
          }),
        );
      });

      return Uv.of({ command, run });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([Programs.layer, Interpreters.layer]),
  );
}
