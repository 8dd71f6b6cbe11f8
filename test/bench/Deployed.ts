import { spawn } from "node:child_process";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { Effect, FileSystem } from "effect";

import {
  artifactOf,
  type Client,
  clientPython,
  imageEnvironment,
} from "../support/clients/Clients.ts";
import { fakeRunPod } from "../support/fakes/FakeRunPod.ts";
import { BUNDLE, bundled, LIVE_REQUEST, ROOT } from "./Bundle.ts";
import { compare, median, milliseconds, timed } from "./Pairs.ts";
import { batch } from "./Queue.ts";

const CACHE = join(ROOT, "node_modules", ".cache", "worker-tetra", "bench");

const UPSTREAM = join(import.meta.dirname, "upstream.py");

const RESOURCE = "hello";
const INPUT = { name: "World" } as const;

const TITLES = { flash: "Flash", sdk: "SDK 2.0" } as const;

/** Variables of a container on RunPod. No worker checks the network. */
const CONTAINER = {
  RUNPOD_ENDPOINT_ID: "endpoint",
  RUNPOD_VOLUME_PATH: "/nonexistent",
  RUNPOD_PING_INTERVAL: "10000",
  RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: "true",
  RUNPOD_SKIP_GPU_CHECK: "true",
} as const;

/**
 * A folder for the files of a row. Not in the system's folder for temporary files, and removed after the row: ext4
 * creates files many times slower where many were removed in the last minutes.
 */
const rowFolder = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  yield* files.makeDirectory(CACHE, { recursive: true });
  return yield* files.makeTempDirectoryScoped({ directory: CACHE });
});

const newFolder = (directory: string) =>
  Effect.flatMap(FileSystem.FileSystem, (files) => files.makeTempDirectory({ directory }));

type Settings = Readonly<Record<string, string>>;

/** Starts a worker, and kills it with its processes when the scope closes. */
const started = ([command = "", ...args]: ReadonlyArray<string>, settings: Settings) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(command, args, {
        env: { ...process.env, ...CONTAINER, ...settings },
        stdio: "ignore",
        detached: true,
      }),
    ),
    ({ pid }) => Effect.sync(() => pid !== undefined && process.kill(-pid, "SIGKILL")),
  );

/** The variables of this worker in its image, where a virtual environment was built in advance. */
const prepared = Effect.fnUntraced(function* (folder: string) {
  yield* bundled;
  return {
    ...(yield* imageEnvironment),
    WORKER_WORKSPACE_PATH: yield* newFolder(folder),
  };
});

/** The variables of a deployed app in an empty folder. */
const deployed = (artifact: string, app: string) => ({
  FLASH_RESOURCE_NAME: RESOURCE,
  FLASH_BUILD_ARTIFACT_PATH: artifact,
  RUNPOD_APP_DIR: app,
});

/** The time from the start of a worker to its answer to a job that was submitted before. */
const untilAnswer = (
  folder: string,
  artifact: string,
  settings: Settings,
  commandFor: (app: string) => ReadonlyArray<string>,
) =>
  Effect.gen(function* () {
    const app = yield* newFolder(folder);
    const service = yield* fakeRunPod();
    const id = service.submit(INPUT);
    const answer = Effect.gen(function* () {
      const variables = { ...service.variables, ...settings, ...deployed(artifact, app) };
      // RUNPOD_PING_INTERVAL of the stand-in is too short for the SDK.
      yield* started(commandFor(app), { ...variables, ...CONTAINER });
      return yield* service.result(id);
    });
    return yield* timed(
      Effect.filterOrFail(
        answer,
        ({ body }) => body["error"] === undefined,
        ({ text }) => text,
      ),
    );
  }).pipe(Effect.scoped);

const start = (client: Client) =>
  Effect.gen(function* () {
    const artifact = yield* artifactOf(client === "sdk" ? "sdk-hello" : client);
    const python = yield* clientPython(client);
    const folder = yield* rowFolder;
    const ours = untilAnswer(folder, artifact, yield* prepared(folder), () => [...BUNDLE, "start"]);
    const upstream = untilAnswer(folder, artifact, {}, (app) => [
      python,
      UPSTREAM,
      client,
      artifact,
      app,
      RESOURCE,
    ]);
    yield* Effect.all([ours, upstream]);
    const result = yield* compare(10, ours, upstream);
    const ratio = median(result.ours) / median(result.baseline);
    return {
      what: `start to the first answer of a deployed app of ${TITLES[client]} (${result.pairs} pairs)`,
      ours: milliseconds(result.ours),
      baseline: `the client's own way ${milliseconds(result.baseline)}`,
      bar: `a third, it is ${ratio.toFixed(2)}`,
      met: ratio <= 1 / 3,
    };
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer));

export const startOfFlash = start("flash");
export const startOfSdk = start("sdk");

/** Starts a worker; `jobs` is the mean time of a job in a batch. */
const running = Effect.fnUntraced(function* (settings: Settings, input: unknown) {
  const service = yield* fakeRunPod();
  yield* started([...BUNDLE, "start"], { ...service.variables, ...settings, ...CONTAINER });
  return { jobs: batch(service, input) };
});

const warmCall = (client: Client) =>
  Effect.gen(function* () {
    const folder = yield* rowFolder;
    const settings = yield* prepared(folder);
    const app = deployed(yield* artifactOf(client), yield* newFolder(folder));
    const { jobs: ours } = yield* running({ ...settings, ...app }, INPUT);
    const { jobs: live } = yield* running(settings, LIVE_REQUEST);
    yield* Effect.all([ours, live, ours, live]);
    const result = yield* compare(20, ours, live);
    const ratio = median(result.ours) / median(result.baseline);
    return {
      what: `a job of a deployed app of ${TITLES[client]} (${result.pairs} pairs of batches)`,
      ours: milliseconds(result.ours),
      baseline: `a live request ${milliseconds(result.baseline)}`,
      bar: `1.2x, it is ${ratio.toFixed(2)}x`,
      met: ratio <= 1.2,
    };
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer));

export const warmFlash = warmCall("flash");
export const warmSdk = warmCall("sdk");
