import { Effect, FileSystem, Option, Path, Schema } from "effect";

import { replaceFile } from "../platform/files/AtomicFile.ts";
import { type DiskFault, diskFault } from "../platform/files/DiskFault.ts";
import { readSmallFile } from "../platform/files/SmallFile.ts";
import { LINKS } from "./ImagePackages.ts";
import { type Interpreter } from "./Interpreters.ts";

/** A whole environment has this file, written last: the list of what was asked to be installed in it. */
const COMPLETE = ".worker-tetra-complete";

/** It must not be taken any more. */
const CONDEMNED = ".worker-tetra-condemned";

/** An install is at work in it, or was when its worker was killed. */
const INSTALLING = ".worker-tetra-installing";

/** Addresses among the requirements may have credentials: nobody else's business. */
const PRIVATE = 0o600;

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

/** The folder of an environment's packages. */
export const sitePackages = (prefix: string, version: string): string => {
  const [major, minor] = version.split(".");
  return `${prefix}/lib/python${major}.${minor}/site-packages`;
};

const versionOf = (configuration: string): string | undefined =>
  /^version(?:_info)?\s*=\s*(\d+\.\d+\.\d+)/m.exec(configuration)?.[1];

const decodeRequirements = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.Array(Schema.String)),
);

/** What is written in environments about themselves, for workers of every process. */
export const venvRecords = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const path = yield* Path.Path;

  const has = (venv: Venv, name: string) =>
    Effect.orElseSucceed(files.exists(path.join(venv.prefix, name)), () => false);

  /** Whether an environment is still what it was. */
  const isWhole = (venv: Venv) =>
    Effect.gen(function* () {
      // `stat` follows links, so an interpreter that is gone shows here.
      yield* files.stat(venv.python);
      yield* files.stat(path.join(venv.prefix, COMPLETE));
      const configuration = yield* readSmallFile(files, path.join(venv.prefix, "pyvenv.cfg"));
      return versionOf(configuration) === venv.version;
    }).pipe(Effect.orElseSucceed(() => false));

  /** Writes the list of what was asked for, which makes an environment whole. */
  const complete = (prefix: string, requirements: ReadonlyArray<string>) =>
    replaceFile(files, path.join(prefix, COMPLETE), JSON.stringify(requirements), PRIVATE);

  return {
    isWhole,
    /** Whether it is whole, and nothing is held against it. */
    canBeTaken: Effect.fnUntraced(function* (venv: Venv) {
      return (yield* isWhole(venv)) && !(yield* has(venv, CONDEMNED));
    }),
    complete,
    /** What was asked to be installed in an environment. */
    requirements: (venv: Venv): Effect.Effect<ReadonlyArray<string>> =>
      readSmallFile(files, path.join(venv.prefix, COMPLETE)).pipe(
        Effect.map((text) => Option.getOrElse(decodeRequirements(text), () => [])),
        Effect.orElseSucceed((): ReadonlyArray<string> => []),
      ),
    /** From now on nobody takes this environment; those who run from it are left alone. */
    condemn: (venv: Venv): Effect.Effect<void> =>
      Effect.catch(replaceFile(files, path.join(venv.prefix, CONDEMNED), ""), (error) =>
        Effect.logDebug(`${venv.prefix} can't be marked: ${error.message}`),
      ),
    /** Says that an install is at work in an environment; while that stands, it may be half done. */
    beginInstall: (venv: Venv): Effect.Effect<void, DiskFault> =>
      Effect.mapError(
        replaceFile(files, path.join(venv.prefix, INSTALLING), ""),
        diskFault(venv.prefix, "can't be written"),
      ),
    /** The install is done, and this is what was asked for in all. */
    endInstall: Effect.fn("Venv.endInstall")(function* (
      venv: Venv,
      requirements: ReadonlyArray<string>,
    ) {
      yield* complete(venv.prefix, requirements).pipe(
        Effect.andThen(files.remove(path.join(venv.prefix, INSTALLING))),
        Effect.mapError(diskFault(venv.prefix, "can't be written")),
      );
    }),
    /** Whether an install has begun and not ended. */
    isInstalling: (venv: Venv): Effect.Effect<boolean> => has(venv, INSTALLING),
    /** Whether an environment has something else in place of packages of the image. */
    replacesImage: (venv: Venv): Effect.Effect<boolean> => has(venv, LINKS),
    /** When packages of an environment last came or went, in milliseconds; none when it can't be seen. */
    changedAt: (venv: Venv): Effect.Effect<Option.Option<number>> =>
      files.stat(sitePackages(venv.prefix, venv.version)).pipe(
        Effect.map(({ mtime }) => Option.map(mtime, (date) => date.getTime())),
        Effect.orElseSucceed(() => Option.none<number>()),
      ),
  };
});
