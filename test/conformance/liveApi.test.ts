import { copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { clientPython, imageEnvironment } from "../support/clients/Clients.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";
import { stdoutOf } from "../support/processes/ChildProcess.ts";
import { realEnvironment } from "../support/processes/RealWorker.ts";
import { workerProcess } from "../support/processes/WorkerProcess.ts";

const SCRIPT = join(import.meta.dirname, "live_api.py");
const MODULE = "live_api_app.py";

describe("a load-balanced worker", () => {
  it.live("serves the API of a development session of SDK 2.0", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      copyFileSync(join(import.meta.dirname, MODULE), join(folder, MODULE));
      const worker = yield* workerProcess({
        ...(yield* imageEnvironment),
        WORKER_WORKSPACE_PATH: yield* temporaryFolder,
        RUNPOD_DEV_APP: "conformance",
        RUNPOD_DEV_RESOURCE: "web",
        PORT: "0",
      });
      const [, port] = yield* worker.wrote(/Listening on 0\.0\.0\.0:(\d+)/);
      yield* stdoutOf(yield* clientPython("sdk"), [SCRIPT, folder, `http://127.0.0.1:${port}`], {
        environment: realEnvironment({ RUNPOD_API_KEY: "local" }),
      });
      const report = JSON.parse(readFileSync(join(folder, "report.json"), "utf8"));
      const { exception, unknown, broken, ...values } = report;
      const name = "__runpod_live__";
      assert.deepStrictEqual(values, {
        post: { value: "1.2 million" },
        get: { value: { count: 1, name } },
        again: { value: { count: 2, name } },
        edited: { value: { count: 101, name } },
        repaired: { value: { count: 102, name } },
      });
      assert.match(exception.error, /^ClientResponseError: 500/);
      assert.match(unknown.error, /404/);
      assert.match(broken.error, /500[^]*ZeroDivisionError: division by zero[^]*1 \/ 0/);
    }).pipe(Effect.scoped),
  );
});
