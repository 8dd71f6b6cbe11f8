import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The package of the worker's Python code: beside this file's folder, in the sources and in the bundle. */
const FOLDER = fileURLToPath(new URL("../python/tetra_runner", import.meta.url));

/** The program that runs jobs. */
export const RUNNER = join(FOLDER, "__main__.py");

/** The program that prints the repr of a pickle that it reads from stdin. */
export const SHOW_VALUE = join(FOLDER, "show_value.py");
