import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, resolve, sep } from "node:path";

import { Effect, type FileSystem, Result } from "effect";

/** Used if the worker was started without a PATH. */
const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The absolute folders of a PATH. Empty and relative entries depend on the current directory, so they are dropped. */
export const absoluteFolders = (path: string): ReadonlyArray<string> =>
  path.split(":").filter(isAbsolute);

/** Whether the path is a regular file or a link to one. */
export const isFile = (files: FileSystem.FileSystem, path: string): Effect.Effect<boolean> =>
  Effect.orElseSucceed(
    Effect.map(files.stat(path), ({ type }) => type === "File"),
    () => false,
  );

/** Searches folders in order for a file; returns the first path. */
export const findFile = (
  files: FileSystem.FileSystem,
  folders: ReadonlyArray<string>,
  name: string,
) =>
  Effect.findFirst(
    folders.map((folder) => join(folder, name)),
    (path) => isFile(files, path),
  );

/** Whether a folder is in a virtual environment, where packages may install programs of any name. */
const isOfVenv = (folder: string): boolean =>
  existsSync(join(dirname(folder), "pyvenv.cfg")) ||
  resolve(folder)
    .split(sep)
    .some((part) => part === ".venv" || part === ".venvs");

/**
 * The folders in which the worker searches its tools (uv, flock, nvidia-smi, apt-get): those of its PATH, without
 * folders that jobs can write to.
 */
export const programFolders = (
  path: string | undefined,
  jobFolders: ReadonlyArray<string>,
): ReadonlyArray<string> =>
  absoluteFolders(path ?? SYSTEM_PATH).filter(
    (folder) =>
      !jobFolders.some((root) => `${resolve(folder)}/`.startsWith(`${resolve(root)}/`)) &&
      // Last: the folder is not on the network volume, which may hang.
      !isOfVenv(folder),
  );

const isProgram = (file: string): boolean =>
  Result.isSuccess(
    Result.try(() => {
      accessSync(file, constants.X_OK);
      if (!statSync(file).isFile()) throw new Error("no file");
    }),
  );

/** The absolute path of an executable program, undefined if not found. A command with a slash is returned unchanged. */
export const findProgram = (command: string, folders: ReadonlyArray<string>): string | undefined =>
  command.includes("/") ? command : folders.map((folder) => join(folder, command)).find(isProgram);
