import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The package with the worker's Python code. Its relative path is the same in the sources and in the bundle. */
const FOLDER = fileURLToPath(new URL("../python/tetra_runner", import.meta.url));

/** The program that runs user code. */
export const RUNNER = join(FOLDER, "__main__.py");

/** The program that reads a pickle from stdin and prints its repr. */
export const SHOW_VALUE = join(FOLDER, "show_value.py");
