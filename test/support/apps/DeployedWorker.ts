import { join } from "node:path";

import { Effect } from "effect";

import { fakeRunPod, type FakeRunPodOptions } from "../fakes/FakeRunPod.ts";
import { temporaryFolder } from "../files/TemporaryFolder.ts";
import { workerProcess } from "../processes/WorkerProcess.ts";
import { type AppFiles, packApp } from "./PackedApp.ts";

interface DeployedOptions extends FakeRunPodOptions {
  /** None if the archive does not exist yet. */
  readonly files?: AppFiles;
  readonly variables?: Readonly<Record<string, string>>;
  /** Prepares files in the temporary folder, and returns more variables. */
  readonly prepare?: (folder: string) => Readonly<Record<string, string>>;
}

/** A stand-in of RunPod, and a worker in a separate process that serves a resource of a deployed app. */
export const deployedWorker = Effect.fnUntraced(function* (
  resource: string,
  { files, variables = {}, prepare = () => ({}), ...options }: DeployedOptions,
) {
  const folder = yield* temporaryFolder;
  const archive = join(folder, "artifact.tar.gz");
  const pack = (content: AppFiles) => packApp(folder, content);
  if (files !== undefined) pack(files);
  const service = yield* fakeRunPod(options);
  const worker = yield* workerProcess({
    ...service.variables,
    FLASH_RESOURCE_NAME: resource,
    FLASH_BUILD_ARTIFACT_PATH: archive,
    RUNPOD_APP_DIR: join(folder, "app"),
    RUNPOD_ARTIFACT_WAIT: "0",
    ...variables,
    ...prepare(folder),
  });
  /** The body that is sent for a job. */
  const answer = (input: unknown) =>
    Effect.map(service.result(service.submit(input)), ({ body }) => body);
  return { service, worker, folder, archive, pack, answer };
});
