import { readFileSync } from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer } from "effect";

import { Environment } from "../../src/settings/Environment.ts";
import { Uv } from "../../src/venv/Uv.ts";
import { clientPython } from "../support/clients/Clients.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";
import { stdoutOf } from "../support/processes/ChildProcess.ts";
import { realEnvironment } from "../support/processes/RealWorker.ts";
import { serveProcess } from "../support/processes/Serve.ts";
import { interpreterWith } from "../support/python/Interpreter.ts";

const SCRIPT = join(import.meta.dirname, "remote.py");

/** The client libraries, in the tested versions. */
const CLIENTS = [
  ["runpod_flash", clientPython("flash")],
  ["tetra_rp", interpreterWith("tetra-rp==0.25.2")],
] as const;

const layer = Layer.mergeAll(
  Uv.layer.pipe(Layer.provide(Environment.layer), Layer.provide(NodeServices.layer)),
  NodeServices.layer,
);

describe("a local endpoint", () => {
  it.live.each(CLIENTS)(
    "runs the functions and classes of the client library %s",
    ([name, interpreter]) =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder;
        const report = join(folder, "report.json");
        const python = yield* interpreter;
        const { url } = yield* serveProcess();
        const shown = yield* stdoutOf(python, [SCRIPT, name, report], {
          environment: realEnvironment({
            RUNPOD_ENDPOINT_BASE_URL: `${url}/v2`,
            RUNPOD_API_KEY: "local",
          }),
        });

        const { exception, ...rest } = JSON.parse(readFileSync(report, "utf8"));
        assert.deepStrictEqual(rest, {
          function: { value: 5 },
          async: { value: "SOON" },
          none: { value: null },
          dependencies: { value: "1.2 million" },
          large: { value: 5_000_000 },
          class: [{ value: 15 }, { value: 17 }, { value: 18 }],
          together: [0, 2, 4, 6, 8],
          ...(name === "runpod_flash"
            ? { nested: { value: 41 }, modules: { value: 12 }, balanced: { value: [1, 2] } }
            : {}),
        });
        assert.match(exception.error, /^Remote execution failed: KeyError: 'no key'\n/);
        assert.include(exception.error, "return {}[key]");
        // The output of a job is shown once.
        assert.lengthOf(shown.match(/adding 2 and 3/g) ?? [], 1);
        for (const n of [0, 1, 2, 3, 4]) {
          assert.lengthOf(shown.match(new RegExp(`adding ${n} and ${n}`, "g")) ?? [], 1);
        }
      }).pipe(Effect.scoped, Effect.provide(layer)),
  );
});
