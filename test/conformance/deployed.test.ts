import { readFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import {
  artifactOf,
  type Client,
  clientPython,
  imageEnvironment,
} from "../support/clients/Clients.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";
import { stdoutOf } from "../support/processes/ChildProcess.ts";
import { realEnvironment } from "../support/processes/RealWorker.ts";
import { workerProcess } from "../support/processes/WorkerProcess.ts";

const SCRIPT = join(import.meta.dirname, "deployed.py");
const APPS = join(import.meta.dirname, "../support/clients/apps");

/** Serves all resources of the real artifact, and calls them by the real client. */
const report = Effect.fnUntraced(function* (client: Client) {
  const folder = yield* temporaryFolder;
  const file = join(folder, "report.json");
  const args = ["serve", "--port", "0", "--app", yield* artifactOf(client)];
  const { wrote } = yield* workerProcess(yield* imageEnvironment, args);
  const [base = ""] = yield* wrote(/http:\/\/127\.0\.0\.1:\d+\/v2/);
  yield* stdoutOf(yield* clientPython(client), [SCRIPT, client, join(APPS, client), file], {
    environment: realEnvironment({
      RUNPOD_ENDPOINT_BASE_URL: base,
      RUNPOD_API_KEY: "local",
    }),
  });
  return JSON.parse(readFileSync(file, "utf8"));
});

/** The answers to calls that both clients make. */
const COMMON = {
  hello: { value: { hello: "you" } },
  default: { value: { hello: "world" } },
  shout: { value: { text: "HEY!", number: "1.2 million" } },
  async: { value: "SOON" },
  relay: { value: { relayed: { hello: "friend" } } },
  generator: { value: [0, 1, 2] },
} as const;

describe("a local endpoint of a deployed app", () => {
  it.live("answers the calls of Flash", () =>
    Effect.gen(function* () {
      const { exception, methods, constructor, together, ...rest } = yield* report("flash");
      assert.deepStrictEqual(rest, {
        ...COMMON,
        class: [{ value: 5 }, { value: 7 }, { value: 8 }],
      });
      assert.include(exception.error, "'no key'");
      assert.deepStrictEqual(methods.slice(0, 2), [{ value: ["a"] }, { value: 1 }]);
      assert.include(methods[2].error, "'b'");
      assert.include(constructor.error, "no model here");
      for (const { value, error } of together) assert.isNumber(value, error);
    }).pipe(Effect.scoped),
  );

  it.live("answers the calls of SDK 2.0", () =>
    Effect.gen(function* () {
      const { exception, together, "failed init": failed, ...rest } = yield* report("sdk");
      assert.deepStrictEqual(rest, {
        ...COMMON,
        stream: { value: [{ tick: 0 }, { tick: 1 }, { tick: 2 }] },
        init: { value: "loaded model" },
      });
      assert.include(exception.error, "no key");
      assert.include(failed.error, "no model here");
      for (const { value, error } of together) assert.isNumber(value, error);
    }).pipe(Effect.scoped),
  );
});
