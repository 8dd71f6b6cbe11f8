import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, resolve, sep } from "node:path";

import { Effect, type FileSystem, Result } from "effect";

/** Where programs of a system are, for a worker that was started without a PATH. */
const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The folders of a PATH; an entry that is empty or relative would mean the current directory. */
export const absoluteFolders = (path: string): ReadonlyArray<string> =>
  path.split(":").filter(isAbsolute);

/** Whether there is a regular file, or a link to one. */
export const isFile = (files: FileSystem.FileSystem, path: string): Effect.Effect<boolean> =>
  Effect.orElseSucceed(
    Effect.map(files.stat(path), ({ type }) => type === "File"),
    () => false,
  );

/** The path of a file in the first of some folders that has one of this name. */
export const findFile = (
  files: FileSystem.FileSystem,
  folders: ReadonlyArray<string>,
  name: string,
) =>
  Effect.findFirst(
    folders.map((folder) => join(folder, name)),
    (path) => isFile(files, path),
  );

/** `bin` of a virtual environment, which packages put programs of any name into. */
const isOfVenv = (folder: string): boolean =>
  existsSync(join(dirname(folder), "pyvenv.cfg")) ||
  resolve(folder)
    .split(sep)
    .some((part) => part === ".venv" || part === ".venvs");

/**
 * The folders in which the worker looks for its own tools (uv, flock, nvidia-smi, apt-get): those of the PATH
 * that it was started with, without any that a job could put a program into.
 */
export const programFolders = (
  path: string | undefined,
  jobFolders: ReadonlyArray<string>,
): ReadonlyArray<string> =>
  absoluteFolders(path ?? SYSTEM_PATH).filter(
    (folder) =>
      !isOfVenv(folder) &&
      !jobFolders.some((root) => `${resolve(folder)}/`.startsWith(`${resolve(root)}/`)),
  );

const isProgram = (file: string): boolean =>
  Result.isSuccess(
    Result.try(() => {
      accessSync(file, constants.X_OK);
      if (!statSync(file).isFile()) throw new Error("no file");
    }),
  );

/** The absolute path of a program; undefined if there is none. A path is returned unchanged. */
export const findProgram = (command: string, folders: ReadonlyArray<string>): string | undefined =>
  command.includes("/") ? command : folders.map((folder) => join(folder, command)).find(isProgram);
