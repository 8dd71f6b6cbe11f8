import { join } from "node:path";

import { Effect, FileSystem, Option, Schema } from "effect";

import { replaceFile } from "../platform/files/AtomicFile.ts";
import { type DiskFault, diskFault } from "../platform/files/DiskFault.ts";
import { readSmallFile } from "../platform/files/SmallFile.ts";
import type { Interpreter } from "./Interpreters.ts";
import { LINKS } from "./image/ReplacedPackages.ts";

/** Written last, so its presence means that the venv is complete. Contains the list of installed requirements. */
const COMPLETE = ".worker-tetra-complete";

/** Marks a venv that must no longer be activated. */
const INVALID = ".worker-tetra-condemned";

/** Marks a venv with a running install, or one that was interrupted because its worker was killed. */
export const INSTALLING = ".worker-tetra-installing";

/** Permissions of the list of requirements, whose URLs may contain credentials. */
const PRIVATE_FILE = 0o600;

/** A virtual environment that is complete according to its files. */
export interface Venv {
  /** Its folder, as Python reports it in `sys.prefix`. */
  readonly prefix: string;
  readonly python: string;
  /** Version of Python, such as `3.12.1`. */
  readonly version: string;
  /** The generation of the place in which it was built: packages are added to it only in this generation. */
  readonly generation: number;
  /** Newer venvs of the same image and generation have higher numbers. */
  readonly number: number;
  readonly base: Interpreter;
}

/** The folder of a venv's packages. */
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

/** Reasons why a file that makes a venv complete is not there; with others, it may be. */
const ABSENT: ReadonlySet<string> = new Set(["NotFound", "BadResource", "BadArgument"]);

/** Whether a venv is still complete and has the same version of Python. Fails if it can't be read. */
const completeness = (files: Files, venv: Venv) =>
  Effect.gen(function* () {
    // `stat` follows links, so it fails if the base interpreter was removed.
    yield* files.stat(venv.python);
    yield* files.stat(join(venv.prefix, COMPLETE));
    const configuration = yield* readSmallFile(files, join(venv.prefix, "pyvenv.cfg"));
    return versionOf(configuration) === venv.version;
  }).pipe(
    Effect.catchIf(
      ({ reason }) => ABSENT.has(reason._tag),
      () => Effect.succeed(false),
    ),
  );

const isComplete = (files: Files, venv: Venv): Effect.Effect<boolean> =>
  Effect.orElseSucceed(completeness(files, venv), () => false);

const mark = (files: Files, { prefix }: Venv, name: string) =>
  replaceFile(files, join(prefix, name), "");

/** Files in virtual environments that record their state for all workers. */
export const venvRecords = Effect.map(FileSystem.FileSystem, (files) => {
  /** Writes the list of requirements, which marks a venv as complete. */
  const markComplete = (prefix: string, requirements: ReadonlyArray<string>) =>
    replaceFile(files, join(prefix, COMPLETE), JSON.stringify(requirements), PRIVATE_FILE);

  return {
    isComplete: (venv: Venv) => isComplete(files, venv),
    /** Whether a venv that was complete a moment ago was not removed. */
    exists: (venv: Venv) => has(files, venv, COMPLETE),
    /** Whether a venv is complete and was not invalidated. */
    isUsable: Effect.fnUntraced(function* (venv: Venv) {
      return (yield* isComplete(files, venv)) && !(yield* has(files, venv, INVALID));
    }),
    /** The same, or it can't be read now, for example because the volume failed for a moment. Others can be removed. */
    mayBeUsable: Effect.fnUntraced(function* (venv: Venv) {
      const complete = yield* Effect.orElseSucceed(completeness(files, venv), () => true);
      return complete && !(yield* has(files, venv, INVALID));
    }),
    markComplete,
    /** The installed requirements. */
    requirements: ({ prefix }: Venv): Effect.Effect<ReadonlyArray<string>> =>
      readSmallFile(files, join(prefix, COMPLETE)).pipe(
        Effect.map((text) => Option.getOrElse(decodeRequirements(text), () => [])),
        Effect.orElseSucceed((): ReadonlyArray<string> => []),
      ),
    /** No worker activates the venv from now on. Processes that already use it are not affected. */
    invalidate: (venv: Venv): Effect.Effect<void> =>
      Effect.catch(mark(files, venv, INVALID), (error) =>
        Effect.logDebug(`Could not invalidate ${venv.prefix}: ${error.message}`),
      ),
    /** Records that an install is running. The venv may be incomplete until `endInstall`. */
    beginInstall: (venv: Venv): Effect.Effect<void, DiskFault> =>
      Effect.mapError(mark(files, venv, INSTALLING), diskFault(venv.prefix, "can't be written")),
    /** Records that the install is done, and all requirements that are installed afterwards. */
    endInstall: Effect.fn("Venv.endInstall")(function* (
      { prefix }: Venv,
      requirements: ReadonlyArray<string>,
    ) {
      yield* markComplete(prefix, requirements).pipe(
        Effect.andThen(files.remove(join(prefix, INSTALLING))),
        Effect.mapError(diskFault(prefix, "can't be written")),
      );
    }),
    /** Records that an install failed without a change. Works on a full disk too. */
    cancelInstall: ({ prefix }: Venv): Effect.Effect<void, DiskFault> =>
      Effect.mapError(
        files.remove(join(prefix, INSTALLING), { force: true }),
        diskFault(prefix, "can't be written"),
      ),
    /** Whether an install is running or was interrupted. */
    isInstalling: (venv: Venv): Effect.Effect<boolean> => has(files, venv, INSTALLING),
    /** Whether a venv has other versions of the image's packages. */
    replacesImage: (venv: Venv): Effect.Effect<boolean> => has(files, venv, LINKS),
    /** When packages were last added or removed, in milliseconds since the epoch; none if unknown. */
    changedAt: (venv: Venv): Effect.Effect<Option.Option<number>> =>
      files.stat(sitePackages(venv.prefix, venv.version)).pipe(
        Effect.map(({ mtime }) => Option.map(mtime, (date) => date.getTime())),
        Effect.orElseSucceed(() => Option.none<number>()),
      ),
  };
});

export type VenvRecords = Effect.Success<typeof venvRecords>;
