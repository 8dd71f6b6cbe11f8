import { join } from "node:path";

import { Effect } from "effect";

import { fakeRunPod } from "../fakes/FakeRunPod.ts";
import { temporaryFolder } from "../files/TemporaryFolder.ts";
import { workerProcess } from "../processes/WorkerProcess.ts";
import { artifactOf, type ClientApp, imageEnvironment } from "./Clients.ts";

type Variables = Readonly<Record<string, string>>;

/** Environment variables of a worker of a deployed resource, with the Python packages of the images. */
const deployment = Effect.fnUntraced(function* (app: ClientApp, resource: string) {
  const folder = yield* temporaryFolder;
  return {
    ...(yield* imageEnvironment),
    FLASH_BUILD_ARTIFACT_PATH: yield* artifactOf(app),
    RUNPOD_APP_DIR: join(folder, "app"),
    FLASH_RESOURCE_NAME: resource,
  };
});

/** A stand-in of RunPod's queue, and a worker process of a resource of the real artifact. */
export const queueWorker = Effect.fnUntraced(function* (
  app: ClientApp,
  resource: string,
  variables: Variables = {},
) {
  const service = yield* fakeRunPod();
  const settings = yield* deployment(app, resource);
  const worker = yield* workerProcess({ ...service.variables, ...settings, ...variables });
  /** Submits a job and returns what RunPod receives. */
  const call = (input: unknown) =>
    Effect.suspend(() => Effect.map(service.result(service.submit(input)), ({ body }) => body));
  /** How often the output and the log of the worker contain a text. */
  const logged = (text: string) => (worker.stdout() + worker.stderr()).split(text).length - 1;
  return { service, worker, call, logged };
});

/** A load-balanced worker process of a resource of the real artifact. */
export const apiWorker = Effect.fnUntraced(function* (
  app: ClientApp,
  resource: string,
  variables: Variables = {},
) {
  const settings = yield* deployment(app, resource);
  const worker = yield* workerProcess({ ...settings, PORT: "0", ...variables });
  const [, port = ""] = yield* worker.wrote(/Listening on 0\.0\.0\.0:(\d+)/);
  return { worker, url: `http://127.0.0.1:${port}` };
});
