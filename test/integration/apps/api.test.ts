import { copyFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { artifactOf, imageEnvironment } from "../../support/clients/Clients.ts";
import { poll } from "../../support/effects/Waiting.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { ask } from "../../support/http/HttpRequest.ts";
import { workerProcess } from "../../support/processes/WorkerProcess.ts";

const balancedWorker = Effect.fnUntraced(function* (
  resource: string,
  variables: Readonly<Record<string, string>> = {},
) {
  const folder = yield* temporaryFolder;
  const archive = join(folder, "artifact.tar.gz");
  const worker = yield* workerProcess({
    ...(yield* imageEnvironment),
    WORKER_WORKSPACE_PATH: join(folder, "workspace"),
    FLASH_RESOURCE_NAME: resource,
    FLASH_BUILD_ARTIFACT_PATH: archive,
    RUNPOD_APP_DIR: join(folder, "app"),
    RUNPOD_ARTIFACT_WAIT: "0",
    WORKER_APP_RETRY: "0.2",
    PORT: "0",
    ...variables,
  });
  const [, port] = yield* worker.wrote(/Listening on 0\.0\.0\.0:(\d+)/);
  return { worker, archive, port: Number(port) };
});

describe("a load-balanced app", () => {
  it.live("responds with 500 and the reason while it can't start, and heals", () =>
    Effect.gen(function* () {
      const { archive, port, worker } = yield* balancedWorker("asgi");
      const failed = yield* poll(ask(port, "/ping"), ({ status }) => status === 500);
      assert.deepInclude(failed.json, { phase: "locate" });
      assert.include(failed.text, archive);
      const request = yield* ask(port, "/items/3");
      assert.strictEqual(request.status, 500);
      assert.include(request.text, archive);
      copyFileSync(yield* artifactOf("sdk"), archive);
      yield* poll(ask(port, "/ping"), ({ status }) => status === 200);
      assert.strictEqual((yield* ask(port, "/items/3")).status, 200);
      yield* worker.signal("SIGTERM");
      assert.strictEqual((yield* worker.ended).code, 0);
    }).pipe(Effect.scoped),
  );

  it.live("responds with 500 if the resource takes jobs from a queue", () =>
    Effect.gen(function* () {
      const { archive, port } = yield* balancedWorker("hello", { FLASH_ENDPOINT_TYPE: "lb" });
      copyFileSync(yield* artifactOf("sdk"), archive);
      const failed = yield* poll(
        ask(port, "/ping"),
        ({ status, text }) => status === 500 && text.includes("from a queue"),
      );
      assert.include(failed.text, "hello");
    }).pipe(Effect.scoped),
  );
});
