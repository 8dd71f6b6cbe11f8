import { fileURLToPath } from "node:url";

import { Effect } from "effect";

import { stdoutOf } from "../processes/ChildProcess.ts";
import { realPython } from "../python/RealPython.ts";

const BUILD = fileURLToPath(new URL("build.sh", import.meta.url));

/** The clients that deploy apps: Flash, and SDK 2.0. */
export type Client = "flash" | "sdk";

/** The apps in the folder `apps`. Those of SDK 2.0: queues; APIs, in an artifact of 118 MB; the smallest app. */
export type ClientApp = Client | "sdk-api" | "sdk-hello";

/** Builds what is missing, which takes up to a minute on a new machine, and returns its path. */
const built = (kind: string, ...version: ReadonlyArray<string>) =>
  Effect.map(stdoutOf("sh", [BUILD, kind, realPython, ...version]), (path) => path.trim());

/**
 * The `artifact.tar.gz` of an app, built by the real client for a Python version such as `3.12`, by default that of this
 * machine.
 */
export const artifactOf = (app: ClientApp, ...version: readonly [version?: string]) =>
  built(app, ...version.filter((part) => part !== undefined));

/** An interpreter with the real client. */
export const clientPython = (client: Client) => built(`client-${client}`);

/** The start command that SDK 2.0 sets for an image of the user, as a list of arguments. */
export const launcherOf = Effect.fnUntraced(function* (kind: "queue" | "api" | "task") {
  const print = `import json, shlex
from runpod.apps.shim import runtime_launcher
print(json.dumps(shlex.split(runtime_launcher("${kind}"))))`;
  const args: ReadonlyArray<string> = JSON.parse(
    yield* stdoutOf(yield* clientPython("sdk"), ["-c", print]),
  );
  return args;
});

/** An interpreter with the Python packages of the images, for `WORKER_PYTHON` and `WORKER_IMAGE_PYTHON`. */
export const imagePython = built("python");

/** Settings of a worker whose jobs have the Python packages of the images. */
export const imageEnvironment = Effect.map(imagePython, (python) => ({
  WORKER_PYTHON: python,
  WORKER_IMAGE_PYTHON: python,
}));
