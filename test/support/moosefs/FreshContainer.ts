import { mkdirSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";

import { Effect } from "effect";

import { temporaryFolder } from "../files/TemporaryFolder.ts";
import { findTools } from "../processes/TestMachine.ts";

const tools = Effect.runSync(Effect.cached(findTools));

/**
 * The variables of a worker in a fresh container: all its folders are empty, and only the volume is shared. uv and Python
 * are those of this machine, as those of an image.
 */
export const freshContainer = Effect.fnUntraced(function* (volume: string) {
  const { uv, python } = yield* tools;
  const folder = yield* temporaryFolder;
  const of = (name: string) => {
    mkdirSync(join(folder, name));
    return join(folder, name);
  };
  return {
    HOME: of("home"),
    XDG_CACHE_HOME: of("cache"),
    TMPDIR: of("tmp"),
    WORKER_WORKSPACE_PATH: of("workspace"),
    WORKER_APP_PATH: of("app"),
    RUNPOD_VOLUME_PATH: volume,
    PATH: [dirname(uv), process.env["PATH"]].join(delimiter),
    WORKER_PYTHON: python,
  };
});
