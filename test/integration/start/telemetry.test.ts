import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { loopbackServer, bodyOf } from "../../support/http/LoopbackServer.ts";
import { workerProcess } from "../../support/processes/WorkerProcess.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

const JOB = JSON.stringify({ input: functionInput("def f(): return 1") });

/** A collector on loopback that keeps what it is sent, by path. */
const collector = Effect.gen(function* () {
  const received = new Map<string, string>();
  const { url } = yield* loopbackServer(async (request, response) => {
    const path = request.url ?? "";
    const body = await bodyOf(request);
    received.set(path, `${received.get(path) ?? ""}${body}`);
    response.end("{}");
  });
  return { received, url };
});

describe("OpenTelemetry", () => {
  it.live("receives traces, logs and metrics at OTEL_EXPORTER_OTLP_ENDPOINT", () =>
    Effect.gen(function* () {
      const { received, url } = yield* collector;
      const worker = yield* workerProcess({
        RUNPOD_TEST_INPUT: JOB,
        LOG_LEVEL: "debug",
        OTEL_EXPORTER_OTLP_ENDPOINT: url,
        OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
        OTEL_SERVICE_NAME: "my-endpoint",
      });
      assert.strictEqual((yield* worker.ended).code, 0);
      assert.sameMembers([...received.keys()], ["/v1/traces", "/v1/logs", "/v1/metrics"]);
      assert.include(received.get("/v1/traces"), "Workspace.ready");
      assert.include(received.get("/v1/traces"), "my-endpoint");
      assert.include(received.get("/v1/metrics"), "workspace_venv_reused");
    }).pipe(Effect.scoped),
  );
});
