import { accessSync, closeSync, constants, openSync, readSync } from "node:fs";
import { delimiter, join } from "node:path";

const isProgram = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK);
    const descriptor = openSync(file, constants.O_RDONLY);
    try {
      const start = Buffer.alloc(2);
      readSync(descriptor, start);
      return start.toString() !== "#!";
    } finally {
      closeSync(descriptor);
    }
  } catch {
    return false;
  }
};

/** An interpreter on PATH that is not a script. Shims, such as those of pyenv, take half a second to start. */
export const realPython =
  (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "python3"))
    .find(isProgram) ?? "python3";
