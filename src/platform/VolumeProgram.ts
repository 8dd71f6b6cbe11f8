import { fileURLToPath } from "node:url";

/**
 * The program that runs operations on the network volume. Its relative path is the same in the sources and in the
 * bundle, so this file must not be moved deeper.
 */
export const VOLUME_PROGRAM = fileURLToPath(
  new URL("../python/tetra_volume/__main__.py", import.meta.url),
);
