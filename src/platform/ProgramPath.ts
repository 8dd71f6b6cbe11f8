import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, resolve, sep } from "node:path";

import { Result } from "effect";

/** Where programs of a system are, for a worker that was started without a PATH. */
const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** `bin` of a virtual environment, which packages put programs of any name into. */
const isOfVenv = (folder: string): boolean =>
  existsSync(join(dirname(folder), "pyvenv.cfg")) ||
  resolve(folder)
    .split(sep)
    .some((part) => part === ".venv" || part === ".venvs");

/**
 * The folders in which the worker looks for its own tools (uv, flock, nvidia-smi, apt-get): those of the PATH
 * that it was started with, without any that a job could put a program into. An entry that is empty or relative
 * would mean the current directory.
 */
export const programFolders = (
  path: string | undefined,
  jobFolders: ReadonlyArray<string>,
): ReadonlyArray<string> =>
  (path ?? SYSTEM_PATH)
    .split(":")
    .filter(
      (folder) =>
        isAbsolute(folder) &&
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
