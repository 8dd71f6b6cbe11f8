import { createHash, randomUUID } from "node:crypto";

import { Context, Effect, FileSystem, Layer, Metric, Option, Path, Schema } from "effect";

import type { ProgramFailed } from "../platform/Programs.ts";
import { replaceAtomically } from "../platform/files/AtomicFile.ts";
import { type DiskFault, diskFault } from "../platform/files/DiskFault.ts";
import { REMOVING } from "../platform/files/Removal.ts";
import { withoutCredentials } from "../settings/Credentials.ts";
import { Environment } from "../settings/Environment.ts";
import { imagePackages, normalized } from "./ImagePackages.ts";
import { Interpreters, type Interpreter, type PythonNotFound } from "./Interpreters.ts";
import type { Place } from "./Place.ts";
import { Uv, type UvUnavailable } from "./Uv.ts";
import { sitePackages, type Venv, venvRecords } from "./Venv.ts";

/** What the runner and the clients' generated code import; the only place that names the versions. */
const BASE_PACKAGES = { cloudpickle: "==3.1.2", aiohttp: ">=3.9" } as const;

/** Folders with such names are on their way in, and nobody's. */
export const BUILDING = ".building-";

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

export type VenvError = VenvCreationFailed | DiskFault | PythonNotFound | UvUnavailable;

export const venvsCreated = Metric.counter("workspace_venv_created", { incremental: true });

/** The package that a requirement is about, as far as it begins with its name. */
const nameOf = (requirement: string): string =>
  (/^[A-Za-z0-9._-]+/.exec(requirement)?.[0] ?? "").toLowerCase();

/** Whose needs uv sees unmet, and which ones, as `uv pip check` words it. */
const UNMET = /The package `([^`]+)` requires `([A-Za-z0-9._-]+)/g;

/**
 * Virtual environments under `.venvs`, one line of them for each interpreter and image: built aside, and
 * shown to the world by the link `.venv` when they are whole.
 */
export class VenvBuilder extends Context.Service<
  VenvBuilder,
  Omit<Effect.Success<typeof venvRecords>, "complete"> & {
    /** The newest whole environment of this image. Starts no process. */
    readonly find: (place: Place) => Effect.Effect<Option.Option<Venv>, PythonNotFound>;
    /** All whole environments of this image, the newest first. */
    readonly all: (place: Place) => Effect.Effect<ReadonlyArray<Venv>, PythonNotFound>;
    /**
     * Builds a new environment that has these requirements too, and makes `.venv` lead to it; whoever shares
     * the place must hold its lock.
     */
    readonly build: (
      place: Place,
      requirements: ReadonlyArray<string>,
      /** Whether what is fetched may be kept; true unless said otherwise. */
      cache?: boolean,
    ) => Effect.Effect<Venv, VenvError>;
    /** Makes `.venv` lead to an environment. */
    readonly publish: (place: Place, venv: Venv) => Effect.Effect<void, DiskFault>;
    /** Environments of this image that can go if nobody runs from them. */
    readonly surplus: (place: Place) => Effect.Effect<ReadonlyArray<Venv>>;
  }
>()("worker-tetra/venv/VenvBuilder") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const python = yield* Interpreters;
      const uv = yield* Uv;
      const { complete, ...records } = yield* venvRecords;
      const { canBeTaken } = records;
      const packagesOfImage = yield* imagePackages;
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

      const find = Effect.fn("VenvBuilder.find")(function* (place: Place) {
        for (const venv of yield* environments(place)) {
          if (yield* canBeTaken(venv)) return Option.some(venv);
        }
        return Option.none();
      });

      const all = Effect.fn("VenvBuilder.all")(function* (place: Place) {
        return yield* Effect.filter(yield* environments(place), canBeTaken);
      });

      const publish = Effect.fn("VenvBuilder.publish")(function* (place: Place, venv: Venv) {
        const link = path.join(place.directory, ".venv");
        const target = path.join(".venvs", path.basename(venv.prefix));
        const current = yield* Effect.option(files.readLink(link));
        if (Option.contains(current, target)) return;
        yield* replaceAtomically(
          files,
          link,
          Effect.fnUntraced(function* (temporary) {
            yield* files.symlink(target, temporary);
            // A folder in the link's place was made by another worker program: it is kept under another name.
            const isFolder = Option.isNone(current) && (yield* files.exists(link));
            if (isFolder) yield* files.rename(link, `${link}.replaced-${randomUUID()}`);
          }),
        ).pipe(Effect.mapError(diskFault(link, "can't be made a link")));
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

      /** Packages of the image that something else took the place of, and those that need just these. */
      const hideReplaced = Effect.fn("VenvBuilder.hideReplaced")(function* (
        prefix: string,
        own: string,
        interpreter: string,
        folders: ReadonlyArray<string>,
        options: Parameters<Uv["Service"]["run"]>[1],
      ) {
        let hidden = yield* packagesOfImage.replaced(own, folders);
        if (hidden.length === 0) return;
        for (let found = 0; found !== hidden.length;) {
          found = hidden.length;
          const words = yield* uv.run(["pip", "check", "--python", interpreter], options).pipe(
            Effect.as(""),
            Effect.catchTag("ProgramFailed", ({ output }) => Effect.succeed(output)),
          );
          const gone = new Set(hidden.map(({ name }) => name));
          const broken = [...words.matchAll(UNMET)].flatMap(([, who = "", whom = ""]) =>
            gone.has(normalized(whom)) ? [normalized(who)] : [],
          );
          yield* packagesOfImage.withdraw(own, broken, folders);
          hidden = yield* packagesOfImage.replaced(own, folders);
        }
        yield* Effect.logInfo(
          `Packages of the image that are not used here: ${hidden.map(({ name }) => name).join(", ")}`,
        );
        yield* packagesOfImage.hide(prefix, own, hidden, folders);
      });

      const build = Effect.fn("VenvBuilder.build")(function* (
        place: Place,
        requirements: ReadonlyArray<string>,
        cache = true,
      ) {
        const { base, image, print } = yield* line;
        const { version } = yield* python.facts(base.executable);
        const parent = parentOf(place);
        yield* files
          .makeDirectory(parent, { recursive: true })
          .pipe(Effect.mapError(diskFault(parent, "can't be made")));
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
          Effect.fail(new VenvCreationFailed({ path: target, step, output: error.output }));
        const environment: Readonly<Record<string, string>> = {
          ...((place.shared || place.keepsCaches === true) && !isSet("UV_CACHE_DIR")
            ? { UV_CACHE_DIR: path.join(place.caches, ".uv-cache") }
            : {}),
          ...(cache ? {} : { UV_NO_CACHE: "1" }),
        };
        const options = { environment };
        const own = sitePackages(aside, version);
        const interpreter = path.join(aside, "bin", "python");
        const folders = Option.isSome(image)
          ? (yield* python.facts(image.value.executable)).sitePackages
          : [];
        yield* Effect.gen(function* () {
          yield* uv
            .run(
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
            .pipe(Effect.catchTag("ProgramFailed", failed("uv venv")));
          if (folders.length > 0) yield* packagesOfImage.offer(own, folders);
          yield* uv
            .run(["pip", "install", "--python", interpreter, "--", ...packages], {
              ...options,
              live: true,
            })
            .pipe(
              Effect.catchTag(
                "ProgramFailed",
                failed(`installing ${packages.map(withoutCredentials).join(", ")}`),
              ),
            );
          if (folders.length > 0) yield* hideReplaced(aside, own, interpreter, folders, options);
          yield* complete(aside, requirements);
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

      return VenvBuilder.of({
        ...records,
        find,
        all,
        build,
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

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([Interpreters.layer, Uv.layer]));
}
