import { once } from "node:events";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Fiber } from "effect";

import { type AppFiles, packApp, writeApp } from "../../support/apps/PackedApp.ts";
import { imageEnvironment } from "../../support/clients/Clients.ts";
import { poll } from "../../support/effects/Waiting.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { ask } from "../../support/http/HttpRequest.ts";
import { workerProcess } from "../../support/processes/WorkerProcess.ts";

const MANIFEST = JSON.stringify({
  version: "1.0",
  resources: { web: { is_load_balanced: true, functions: [] } },
});

const HANDLER = `
import asyncio, os, pathlib
from fastapi import FastAPI, WebSocket
app = FastAPI()

@app.get("/pid")
def pid():
    return os.getpid()

@app.get("/crash")
def crash():
    os.kill(os.getpid(), 9)

@app.get("/wait")
async def wait(file: str):
    print("waiting", flush=True)
    while not pathlib.Path(file).exists():
        await asyncio.sleep(0.01)
    return "done"

@app.websocket("/socket")
async def socket(socket: WebSocket):
    await socket.accept()
    await socket.send_text("hello")
    async for text in socket.iter_text():
        pass
`;

const FILES: AppFiles = { "flash_manifest.json": MANIFEST, "handler_web.py": HANDLER };

/** A worker behind a load balancer with a deployed app, whose archive the test packs. */
const balanced = Effect.fnUntraced(function* (
  files: AppFiles | undefined,
  variables: Readonly<Record<string, string>> = {},
) {
  const folder = yield* temporaryFolder;
  const pack = (content: AppFiles) => Effect.sync(() => packApp(folder, content));
  if (files !== undefined) yield* pack(files);
  const worker = yield* workerProcess({
    ...(yield* imageEnvironment),
    WORKER_WORKSPACE_PATH: join(folder, "workspace"),
    FLASH_RESOURCE_NAME: "web",
    FLASH_ENDPOINT_TYPE: "lb",
    FLASH_BUILD_ARTIFACT_PATH: join(folder, "artifact.tar.gz"),
    RUNPOD_APP_DIR: join(folder, "app"),
    RUNPOD_ARTIFACT_WAIT: "0",
    RUNPOD_POD_ID: "worker-1",
    PORT: "0",
    ...variables,
  });
  const [, port] = yield* worker.wrote(/Listening on 0\.0\.0\.0:(\d+)/);
  const get = (path: string) => ask(Number(port), path);
  const healthIs = (status: number) => poll(get("/ping"), (response) => response.status === status);
  return { worker, folder, pack, port: Number(port), get, healthIs };
});

describe("a deployed app behind a load balancer", () => {
  it.live("responds after its process was killed", () =>
    Effect.gen(function* () {
      const { get, healthIs } = yield* balanced(FILES);
      // Waits for the start.
      const first = yield* get("/pid");
      assert.deepInclude(first, { status: 200 });
      assert.strictEqual(first.headers["x-runpod-worker-id"], "worker-1");
      const killed = yield* get("/crash");
      assert.strictEqual(killed.status, 502);
      assert.match(killed.text, /killed by SIGKILL[^]*started again/);
      const second = yield* get("/pid");
      assert.deepInclude(second, { status: 200 });
      assert.notStrictEqual(second.json, first.json);
      yield* healthIs(200);
    }).pipe(Effect.scoped),
  );

  it.live("reports why it can't be imported, and heals with the next archive", () =>
    Effect.gen(function* () {
      const broken = { ...FILES, "handler_web.py": "def f():\n    return {}['key']\nf()\n" };
      const { get, healthIs, folder } = yield* balanced(broken, { WORKER_APP_RETRY: "0.5" });
      yield* healthIs(500);
      const failed = yield* get("/pid");
      assert.strictEqual(failed.status, 500);
      assert.deepInclude(failed.json, { phase: "import" });
      assert.match(failed.text, /KeyError: 'key'[^]*handler_web\.py[^]*return \{\}\['key'\]/);
      writeApp(join(folder, "app"), FILES);
      yield* healthIs(200);
      assert.deepInclude(yield* get("/pid"), { status: 200 });
    }).pipe(Effect.scoped),
  );

  it.live("waits for an archive that comes late", () =>
    Effect.gen(function* () {
      const { get, healthIs, pack } = yield* balanced(undefined, { RUNPOD_ARTIFACT_WAIT: "60" });
      yield* healthIs(204);
      const waiting = yield* Effect.forkChild(get("/pid"));
      yield* pack(FILES);
      assert.deepInclude(yield* Fiber.join(waiting), { status: 200 });
    }).pipe(Effect.scoped),
  );

  it.live("finishes requests when the worker stops, and closes WebSockets after the grace", () =>
    Effect.gen(function* () {
      const { worker, port, get, folder, healthIs } = yield* balanced(FILES, {
        WORKER_SHUTDOWN_GRACE: "3",
      });
      yield* healthIs(200);
      const file = join(folder, "continue");
      const waiting = yield* Effect.forkChild(get(`/wait?file=${encodeURIComponent(file)}`));
      yield* worker.wrote("waiting");
      const socket = new WebSocket(`ws://127.0.0.1:${port}/socket`);
      yield* Effect.promise(() => once(socket, "message"));
      const closed = once(socket, "close");
      yield* worker.signal("SIGTERM");
      yield* worker.wrote("Draining");
      assert.strictEqual((yield* get("/pid")).status, 503);
      writeApp(folder, { continue: "" });
      assert.strictEqual((yield* Fiber.join(waiting)).json, "done");
      yield* Effect.promise(() => closed);
      assert.strictEqual((yield* worker.ended).code, 0);
    }).pipe(Effect.scoped),
  );
});
