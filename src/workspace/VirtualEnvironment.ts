import { createHash, randomUUID } from "node:crypto";

import { Context, Effect, FileSystem, Layer, Metric, Option, Path, Schema } from "effect";

import { Environment } from "../settings/Environment.ts";
import { DiskFault, diskFault } from "./DiskFault.ts";
import { type ProgramFailed, Programs } from "./Programs.ts";
import { type Interpreter, Python, type PythonNotFound } from "./Python.ts";
import { Uv, type UvUnavailable } from "./Uv.ts";
import type { Place } from "./Volume.ts";

/** What the runner and the clients' generated code import; the only place that names the versions. */
const BASE_PACKAGES = { cloudpickle: "==3.1.2", aiohttp: ">=3.9" } as const;

/** A whole environment has this file, written last: the list of what was asked to be installed in it. */
const COMPLETE = ".worker-tetra-complete";

/** It must not be taken any more. */
const CONDEMNED = ".worker-tetra-condemned";

/** An install is at work in it, or was when its worker was killed. */
const INSTALLING = ".worker-tetra-installing";

/** Folders with such names are on their way in or out, and nobody's. */
const BUILDING = ".building-";
export const REMOVING = ".removing-";

/** Environments that differ in what jobs asked for, kept side by side so that none is built again and again. */
const KEPT = 8;

/** An environment could not be built. */
class VenvCreationFailed extends Schema.TaggedError<VenvCreationFailed>()("VenvCreationFailed", {
  path: Schema.String,
  step: Schema.String,
  output: Schema.String,
}) {
  override get message(): string {
    return `The virtual environment ${this.path} could not be built: ${this.step} failed. ${this.output.trim()}`;
  }
}

/** A virtual environment that is ready, by all that its files tell. */
export interface Venv {
  /** Its folder, as Python reports it in `sys.prefix`. */
  readonly prefix: string;
  readonly python: string;
  /** Version of Python, such as `3.12.1`. */
  readonly version: string;
  /** Later environments of one image have higher numbers. */
  readonly number: number;
  readonly base: Interpreter;
}

export type VenvError = VenvCreationFailed | DiskFault | PythonNotFound | UvUnavailable;

export const venvsCreated = Metric.counter("workspace_venv_created", { incremental: true });

/** The package that a requirement is about, as far as it begins with its name. */
const nameOf = (requirement: string): string =>
  (/^[A-Za-z0-9._-]+/.exec(requirement)?.[0] ?? "").toLowerCase();

const decodeRequirements = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.Array(Schema.String)),
);

const versionOf = (configuration: string): string | undefined =>
  /^version(?:_info)?\s*=\s*(\d+\.\d+\.\d+)/m.exec(configuration)?.[1];

/**
 * Virtual environments under `.venvs`, one line of them for each interpreter and image: built aside, and
 * shown to the world by the link `.venv` when they are whole.
 */
export class VirtualEnvironment extends Context.Service<
  VirtualEnvironment,
  {
    /** The newest whole environment of this image. Starts no process. */
    readonly find: (place: Place) => Effect.Effect<Option.Option<Venv>, PythonNotFound>;
    /** Whether an environment is still what it was. */
    readonly isWhole: (venv: Venv) => Effect.Effect<boolean>;
    /** All whole environments of this image, the newest first. */
    readonly all: (place: Place) => Effect.Effect<ReadonlyArray<Venv>, PythonNotFound>;
    /**
     * Builds a new environment that has these requirements too, and makes `.venv` lead to it; whoever shares
     * the place must hold its lock.
     */
    readonly build: (
      place: Place,
      requirements: ReadonlyArray<string>,
    ) => Effect.Effect<Venv, VenvError>;
    /** Makes `.venv` lead to an environment. */
    readonly publish: (place: Place, venv: Venv) => Effect.Effect<void, DiskFault>;
    /** What was asked to be installed in an environment. */
    readonly requirements: (venv: Venv) => Effect.Effect<ReadonlyArray<string>>;
    /** From now on nobody takes this environment; those who run from it are left alone. */
    readonly condemn: (venv: Venv) => Effect.Effect<void>;
    /** Says that an install is at work in an environment; while that stands, it may be half done. */
    readonly beginInstall: (venv: Venv) => Effect.Effect<void, DiskFault>;
    /** The install is done, and this is what was asked for in all. */
    readonly endInstall: (
      venv: Venv,
      requirements: ReadonlyArray<string>,
    ) => Effect.Effect<void, DiskFault>;
    /** Whether an install has begun and not ended. */
    readonly isInstalling: (venv: Venv) => Effect.Effect<boolean>;
    /** Environments of this image that can go if nobody runs from them. */
    readonly surplus: (place: Place) => Effect.Effect<ReadonlyArray<Venv>>;
  }
>()("worker-tetra/workspace/VirtualEnvironment") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const programs = yield* Programs;
      const python = yield* Python;
      const uv = yield* Uv;
      const { has: isSet } = yield* Environment;

      const parentOf = ({ directory }: Place) => path.join(directory, ".venvs");

      /** Environments of one line differ only in their number; their names end alike before it. */
      const line = yield* Effect.cached(
        Effect.gen(function* () {
          const base = yield* python.base;
          const image = yield* python.image;
          const facts = [
            base.identity,
            BASE_PACKAGES,
            Option.isSome(image) ? image.value.identity : null,
          ];
          const print = createHash("sha256").update(JSON.stringify(facts)).digest("hex");
          return { base, image, print: print.slice(0, 8) };
        }),
      );

      /** The environments of a line, the newest first, as far as their names tell. */
      const environments = Effect.fnUntraced(function* (place: Place) {
        const { base, print } = yield* line;
        const names = yield* Effect.orElseSucceed(
          files.readDirectory(parentOf(place)),
          (): ReadonlyArray<string> => [],
        );
        return names
          .flatMap((name): ReadonlyArray<Venv> => {
            const [, version, ofPrint, number] = /^([\d.]+)-([0-9a-f]+)-(\d+)$/.exec(name) ?? [];
            return version === undefined || ofPrint !== print
              ? []
              : [venvAt(path.join(parentOf(place), name), version, Number(number), base)];
          })
          .toSorted((a, b) => b.number - a.number);
      });

      const venvAt = (
        prefix: string,
        version: string,
        number: number,
        base: Interpreter,
      ): Venv => ({ prefix, python: path.join(prefix, "bin", "python"), version, number, base });

      const isWhole = (venv: Venv) =>
        Effect.gen(function* () {
          // `stat` follows links, so an interpreter that is gone shows here.
          yield* files.stat(venv.python);
          yield* files.stat(path.join(venv.prefix, COMPLETE));
          const configuration = yield* files.readFileString(path.join(venv.prefix, "pyvenv.cfg"));
          return versionOf(configuration) === venv.version;
        }).pipe(Effect.orElseSucceed(() => false));

      const has = (venv: Venv, name: string) =>
        Effect.orElseSucceed(files.exists(path.join(venv.prefix, name)), () => false);

      const canBeTaken = Effect.fnUntraced(function* (venv: Venv) {
        return (yield* isWhole(venv)) && !(yield* has(venv, CONDEMNED));
      });

      const find = Effect.fn("VirtualEnvironment.find")(function* (place: Place) {
        for (const venv of yield* environments(place)) {
          if (yield* canBeTaken(venv)) return Option.some(venv);
        }
        return Option.none();
      });

      const all = Effect.fn("VirtualEnvironment.all")(function* (place: Place) {
        return yield* Effect.filter(yield* environments(place), canBeTaken);
      });

      const publish = Effect.fn("VirtualEnvironment.publish")(function* (place: Place, venv: Venv) {
        const link = path.join(place.directory, ".venv");
        const target = path.join(".venvs", path.basename(venv.prefix));
        const current = yield* Effect.option(files.readLink(link));
        if (Option.contains(current, target)) return;
        const temporary = `${link}-${randomUUID()}`;
        yield* Effect.gen(function* () {
          yield* files.symlink(target, temporary);
          // A folder in the link's place was made by another worker program: it is kept under another name.
          const isFolder = Option.isNone(current) && (yield* files.exists(link));
          if (isFolder) yield* files.rename(link, `${link}.replaced-${randomUUID()}`);
          yield* files.rename(temporary, link);
        }).pipe(
          Effect.mapError(diskFault(link, "can't be made a link")),
          Effect.onError(() => Effect.ignore(files.remove(temporary))),
        );
      });

      /** Removes what builders that were killed left; under the lock nobody else is building. */
      const clear = Effect.fnUntraced(
        function* (parent: string) {
          for (const name of yield* files.readDirectory(parent)) {
            if (!name.startsWith(BUILDING) && !name.startsWith(REMOVING)) continue;
            yield* files.remove(path.join(parent, name), { recursive: true, force: true });
          }
        },
        Effect.catch((error) =>
          Effect.logDebug(`What was left half-built stays: ${error.message}`),
        ),
      );

      const build = Effect.fn("VirtualEnvironment.build")(function* (
        place: Place,
        requirements: ReadonlyArray<string>,
      ) {
        const { base, image, print } = yield* line;
        const { version } = yield* python.facts(base.executable);
        const parent = parentOf(place);
        yield* files
          .makeDirectory(parent, { recursive: true })
          .pipe(Effect.mapError(diskFault(parent, "can't be made")));
        const command = yield* uv.command;
        const [newest] = yield* environments(place);
        const number = (newest?.number ?? 0) + 1;
        const target = path.join(parent, `${version}-${print}-${number}`);
        const aside = path.join(parent, `${BUILDING}${randomUUID()}`);
        const venv = venvAt(target, version, number, base);
        // A job that names one of them may want another version.
        const packages = [
          ...Object.entries(BASE_PACKAGES)
            .filter(([name]) => !requirements.some((requirement) => nameOf(requirement) === name))
            .map(([name, versions]) => `${name}${versions}`),
          ...requirements,
        ];
        yield* Effect.logInfo(`Building the virtual environment ${target}`);

        const failed = (step: string) => (error: ProgramFailed) =>
          new VenvCreationFailed({ path: target, step, output: error.output });
        const environment = {
          UV_PYTHON_DOWNLOADS: "never",
          ...(place.shared && !isSet("UV_CACHE_DIR")
            ? { UV_CACHE_DIR: path.join(place.caches, ".uv-cache") }
            : {}),
        };
        const options = { directory: place.directory, environment };
        yield* Effect.gen(function* () {
          yield* programs
            .run(
              command,
              [
                "venv",
                "--quiet",
                "--no-project",
                "--relocatable",
                "--python",
                base.executable,
                aside,
              ],
              options,
            )
            .pipe(Effect.mapError(failed("uv venv")));
          yield* programs
            .run(
              command,
              [
                "pip",
                "install",
                "--quiet",
                "--python",
                path.join(aside, "bin", "python"),
                "--",
                ...packages,
              ],
              options,
            )
            .pipe(Effect.mapError(failed(`installing ${packages.join(", ")}`)));
          if (Option.isSome(image)) {
            const { sitePackages } = yield* python.facts(image.value.executable);
            const [major, minor] = version.split(".");
            const folder = path.join(aside, "lib", `python${major}.${minor}`, "site-packages");
            // Folders of a .pth file come after the environment's own packages, so those win.
            yield* files.writeFileString(
              path.join(folder, "worker_tetra_image.pth"),
              `${sitePackages.join("\n")}\n`,
            );
          }
          yield* files.writeFileString(path.join(aside, COMPLETE), JSON.stringify(requirements));
          yield* files.rename(aside, target);
        }).pipe(
          Effect.catchTag("PlatformError", (error) =>
            Effect.fail(diskFault(target, "can't be written")(error)),
          ),
          Effect.onError(() =>
            Effect.ignore(files.remove(aside, { recursive: true, force: true })),
          ),
        );
        yield* publish(place, venv);
        yield* Metric.update(venvsCreated, 1);
        yield* clear(parent);
        return venv;
      });

      return VirtualEnvironment.of({
        find,
        all,
        isWhole,
        build,
        requirements: (venv) =>
          files.readFileString(path.join(venv.prefix, COMPLETE)).pipe(
            Effect.map((text) => Option.getOrElse(decodeRequirements(text), () => [])),
            Effect.orElseSucceed((): ReadonlyArray<string> => []),
          ),
        condemn: (venv) =>
          Effect.catch(files.writeFileString(path.join(venv.prefix, CONDEMNED), ""), (error) =>
            Effect.logDebug(`${venv.prefix} can't be marked: ${error.message}`),
          ),
        beginInstall: (venv) =>
          Effect.mapError(
            files.writeFileString(path.join(venv.prefix, INSTALLING), ""),
            diskFault(venv.prefix, "can't be written"),
          ),
        endInstall: Effect.fn("VirtualEnvironment.endInstall")(function* (venv, requirements) {
          const file = path.join(venv.prefix, COMPLETE);
          const aside = `${file}-${randomUUID()}`;
          yield* files
            .writeFileString(aside, JSON.stringify(requirements))
            .pipe(
              Effect.andThen(files.rename(aside, file)),
              Effect.andThen(files.remove(path.join(venv.prefix, INSTALLING))),
              Effect.mapError(diskFault(venv.prefix, "can't be written")),
            );
        }),
        isInstalling: (venv) => has(venv, INSTALLING),
        publish,
        surplus: (place) =>
          Effect.gen(function* () {
            const venvs = yield* environments(place);
            const good = yield* Effect.filter(venvs, canBeTaken);
            const kept = new Set(good.slice(0, KEPT));
            return venvs.filter((venv) => !kept.has(venv));
          }).pipe(Effect.orElseSucceed((): ReadonlyArray<Venv> => [])),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([Programs.layer, Python.layer, Uv.layer]),
  );
}
