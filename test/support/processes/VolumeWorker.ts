import { mkdirSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";

import { Effect } from "effect";

import { fakeRunPod } from "../fakes/FakeRunPod.ts";
import { temporaryFolder } from "../files/TemporaryFolder.ts";
import { findTools } from "./TestMachine.ts";
import { workerProcess } from "./WorkerProcess.ts";

const tools = Effect.runSync(Effect.cached(findTools));

/**
 * The variables of a worker in a fresh container: its folders are empty, only the volume is shared. They do not name the
 * home folder's uv and Python, which have to be there as in an image.
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

/**
 * Starts a worker in a fresh container with a volume, as leader of a process group; `answer` sends it a job and waits
 * for the response.
 */
export const volumeWorker = Effect.fnUntraced(function* (
  volume: string,
  variables: Readonly<Record<string, string>> = {},
) {
  const container = yield* freshContainer(volume);
  const service = yield* fakeRunPod();
  const worker = yield* workerProcess(
    { ...service.variables, ...container, ...variables },
    ["start"],
    undefined,
    true,
  );
  return {
    ...worker,
    container,
    service,
    /** The response to a job. */
    answer: (input: unknown) =>
      Effect.map(
        Effect.suspend(() => service.result(service.submit(input))),
        ({ body }) => body,
      ),
  };
});
