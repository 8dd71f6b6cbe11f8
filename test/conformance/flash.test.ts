import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { clientPython } from "../support/clients/Clients.ts";
import { stdoutOf } from "../support/processes/ChildProcess.ts";
import { realEnvironment } from "../support/processes/RealWorker.ts";
import { IS_FULL } from "../support/values/FullLength.ts";

const SCRIPT = join(import.meta.dirname, "flash_names.py");
const RUNNER = join(import.meta.dirname, "../../src/python");

const reportOf = Effect.fnUntraced(function* (mode: "deferred" | "real", resource: string) {
  const shown = yield* stdoutOf(yield* clientPython("flash"), [SCRIPT, mode, RUNNER], {
    environment: realEnvironment({
      FLASH_RESOURCE_NAME: resource,
      RUNPOD_POD_ID: "worker",
      RUNPOD_API_KEY: "key",
      RUNPOD_ENDPOINT_BASE_URL: "http://127.0.0.1:9",
    }),
  });
  const { loaded, ...report } = JSON.parse(shown);
  return { loaded, report };
});

describe("the deferred names of runpod_flash", () => {
  // The real package takes seconds to be imported.
  it.live.each(IS_FULL ? ["first", "counter", "old"] : ["first"])(
    "behave like the real ones in a worker of the resource %s",
    (resource) =>
      Effect.gen(function* () {
        const real = yield* reportOf("real", resource);
        const deferred = yield* reportOf("deferred", resource);
        assert.deepStrictEqual(deferred, { loaded: false, report: real.report });
        assert.isTrue(real.loaded);
      }).pipe(Effect.provide(NodeServices.layer)),
  );
});
