import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { clientPython } from "../support/clients/Clients.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";
import { loopbackServer, respondJson } from "../support/http/LoopbackServer.ts";
import { stdoutOf } from "../support/processes/ChildProcess.ts";
import { realEnvironment } from "../support/processes/RealWorker.ts";
import { serveProcess } from "../support/processes/Serve.ts";

const SCRIPT = join(import.meta.dirname, "live.py");
const APP = "conformance";

/** The name of the endpoint that a session creates for a resource. */
const endpointName = (resource: string): string => {
  const digest = createHash("sha256").update(`${APP}/${resource}`).digest("hex").slice(0, 6);
  return `dev-${APP}-${resource}-${digest}`;
};

/** RunPod's control plane, as far as a worker needs it: it lists the endpoints of the session. */
const controlPlane = loopbackServer((_, response) =>
  respondJson(response, {
    endpoints: ["add", "outer_again"].map((id) => ({ id, name: endpointName(id) })),
  }),
);

describe("a local endpoint", () => {
  it.live("runs live calls of SDK 2.0", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const report = join(folder, "report.json");
      const python = yield* clientPython("sdk");
      const control = yield* controlPlane;
      const { url } = yield* serveProcess([], {
        RUNPOD_DEV_APP: APP,
        RUNPOD_DEV_RESOURCE: "outer",
        RUNPOD_ENDPOINT_ID: "live",
        RUNPOD_API_BASE_URL: control.url,
      });
      yield* stdoutOf(python, [SCRIPT, report], {
        environment: realEnvironment({
          RUNPOD_ENDPOINT_BASE_URL: `${url}/v2`,
          RUNPOD_API_KEY: "local",
          // The context in which calls go to live endpoints.
          RUNPOD_DEV_SESSION: "1",
        }),
      });

      const { exception, ...rest } = JSON.parse(readFileSync(report, "utf8"));
      const { "not a number": notANumber, ...values } = rest;
      assert.deepStrictEqual(values, {
        function: { value: 5 },
        async: { value: "1.2 million" },
        none: { value: null },
        numbers: {
          value: "[1.0, -0.0, 1152921504606846977, 1e+22, {'b': 1, '10': 2, '9': 3}]",
        },
        generator: { value: [{ i: 0 }, { i: 1 }, { i: 2 }] },
        "empty generator": { value: [] },
        "async generator": { value: [0, 1, 2] },
        stream: { value: [{ i: 0 }, { i: 1 }, { i: 2 }] },
        "async stream": { value: [0, 1] },
        init: [{ value: ["loaded"] }, { value: ["loaded"] }],
        state: { value: { name: "__runpod_live__", main_ran: false, aiohttp: true } },
        nested: { value: [5, 40, 6] },
        spawned: { value: 3 },
      });
      assert.match(
        exception.error,
        /^RemoteExecutionError: remote execution failed: KeyError: 'no key'/,
      );
      assert.include(exception.error, "return {}[key]");
      assert.match(notANumber.error, /400/);
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );
});
