import { createServer } from "node:http";

import { NodeHttpServer, NodeRuntime } from "@effect/platform-node";
import { Effect, Layer } from "effect";
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http";

/** The server of the local endpoint with one route, which reads the request and responds immediately. */
const answer = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest;
  const body = yield* request.json;
  return HttpServerResponse.jsonUnsafe({
    id: "00000000-0000-0000-0000-000000000000-l1",
    status: "COMPLETED",
    delayTime: 0,
    executionTime: 0,
    workerId: "none",
    retries: 0,
    output: { success: body !== null, result: null, json_result: null, stdout: "" },
  });
});

const server = HttpRouter.serve(HttpRouter.add("POST", "/runsync", answer), {
  disableListenLog: true,
  disableLogger: true,
}).pipe(
  Layer.merge(
    Layer.effectDiscard(
      Effect.flatMap(HttpServer.HttpServer, ({ address }) =>
        Effect.sync(() =>
          process.stderr.write(`on http://127.0.0.1:${"port" in address ? address.port : 0}\n`),
        ),
      ),
    ),
  ),
  Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })),
);

NodeRuntime.runMain(Layer.launch(server));
