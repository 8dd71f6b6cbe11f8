import { fileURLToPath } from "node:url";

import { Effect } from "effect";

import { stdoutOf } from "../processes/ChildProcess.ts";
import { realPython } from "../python/RealPython.ts";

const BUILD = fileURLToPath(new URL("build.sh", import.meta.url));

/** The clients that deploy apps: Flash, and SDK 2.0. */
export type Client = "flash" | "sdk";

/** Builds what is missing, which takes up to a minute on a new machine, and returns its path. */
const built = (kind: string) =>
  Effect.map(stdoutOf("sh", [BUILD, kind, realPython]), (path) => path.trim());

/** The `artifact.tar.gz` of the app in `apps/flash` or `apps/sdk`, built by the real client. */
export const artifactOf = (client: Client) => built(client);

/** An interpreter with the real client. */
export const clientPython = (client: Client) => built(`client-${client}`);

/** An interpreter with the Python packages of the images, for `WORKER_PYTHON` and `WORKER_IMAGE_PYTHON`. */
export const imagePython = built("python");

/** Settings of a worker whose jobs have the Python packages of the images. */
export const imageEnvironment = Effect.map(imagePython, (python) => ({
  WORKER_PYTHON: python,
  WORKER_IMAGE_PYTHON: python,
}));
