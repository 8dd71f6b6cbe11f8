import { join } from "node:path";

import { Effect, FileSystem, Option, Schema } from "effect";

import { replaceFile } from "../platform/files/AtomicFile.ts";
import { type DiskFault, diskFault } from "../platform/files/DiskFault.ts";
import { readSmallFile } from "../platform/files/SmallFile.ts";
import type { Interpreter } from "./Interpreters.ts";
import { LINKS } from "./image/ReplacedPackages.ts";

/** A whole virtual environment has this file, written last: the list of requirements that are installed in it. */
const COMPLETE = ".worker-tetra-complete";

/** Marks a virtual environment that must not be activated any more. */
const INVALID = ".worker-tetra-condemned";

/** Marks an install that is running, or was when its worker was killed. */
const INSTALLING = ".worker-tetra-installing";

/** The permissions of the list of requirements: URLs among them may have credentials. */
const PRIVATE_FILE = 0o600;

/** A virtual environment that is whole according to its files. */
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

type Files = FileSystem.FileSystem;

const has = (files: Files, { prefix }: Venv, name: string): Effect.Effect<boolean> =>
  Effect.orElseSucceed(files.exists(join(prefix, name)), () => false);

/** Whether an environment is still what it was. */
const isComplete = (files: Files, venv: Venv): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    // `stat` follows links, so an interpreter that is gone shows here.
    yield* files.stat(venv.python);
    yield* files.stat(join(venv.prefix, COMPLETE));
    const configuration = yield* readSmallFile(files, join(venv.prefix, "pyvenv.cfg"));
    return versionOf(configuration) === venv.version;
  }).pipe(Effect.orElseSucceed(() => false));

const mark = (files: Files, { prefix }: Venv, name: string) =>
  replaceFile(files, join(prefix, name), "");

/** Files in virtual environments that tell workers of all processes about their state. */
export const venvRecords = Effect.map(FileSystem.FileSystem, (files) => {
  /** Writes the list of requirements, which makes an environment whole. */
  const markComplete = (prefix: string, requirements: ReadonlyArray<string>) =>
    replaceFile(files, join(prefix, COMPLETE), JSON.stringify(requirements), PRIVATE_FILE);

  return {
    isComplete: (venv: Venv) => isComplete(files, venv),
    /** Whether it is whole and was not invalidated. */
    isUsable: Effect.fnUntraced(function* (venv: Venv) {
      return (yield* isComplete(files, venv)) && !(yield* has(files, venv, INVALID));
    }),
    markComplete,
    /** The requirements that are installed in an environment. */
    requirements: ({ prefix }: Venv): Effect.Effect<ReadonlyArray<string>> =>
      readSmallFile(files, join(prefix, COMPLETE)).pipe(
        Effect.map((text) => Option.getOrElse(decodeRequirements(text), () => [])),
        Effect.orElseSucceed((): ReadonlyArray<string> => []),
      ),
    /** From now on no worker activates this environment; processes that run from it are not affected. */
    invalidate: (venv: Venv): Effect.Effect<void> =>
      Effect.catch(mark(files, venv, INVALID), (error) =>
        Effect.logDebug(`${venv.prefix} can't be marked: ${error.message}`),
      ),
    /** Records that an install is running in an environment, which may be half done until `endInstall`. */
    beginInstall: (venv: Venv): Effect.Effect<void, DiskFault> =>
      Effect.mapError(mark(files, venv, INSTALLING), diskFault(venv.prefix, "can't be written")),
    /** Records that the install is done, and all requirements that are installed now. */
    endInstall: Effect.fn("Venv.endInstall")(function* (
      { prefix }: Venv,
      requirements: ReadonlyArray<string>,
    ) {
      yield* markComplete(prefix, requirements).pipe(
        Effect.andThen(files.remove(join(prefix, INSTALLING))),
        Effect.mapError(diskFault(prefix, "can't be written")),
      );
    }),
    /** Whether an install has begun and not ended. */
    isInstalling: (venv: Venv): Effect.Effect<boolean> => has(files, venv, INSTALLING),
    /** Whether an environment has something else in place of packages of the image. */
    replacesImage: (venv: Venv): Effect.Effect<boolean> => has(files, venv, LINKS),
    /** When packages of an environment last came or went, in milliseconds; none when it can't be seen. */
    changedAt: (venv: Venv): Effect.Effect<Option.Option<number>> =>
      files.stat(sitePackages(venv.prefix, venv.version)).pipe(
        Effect.map(({ mtime }) => Option.map(mtime, (date) => date.getTime())),
        Effect.orElseSucceed(() => Option.none<number>()),
      ),
  };
});

export type VenvRecords = Effect.Success<typeof venvRecords>;
