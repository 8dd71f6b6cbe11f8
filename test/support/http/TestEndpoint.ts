import { NodeHttpClient, NodeServices } from "@effect/platform-node";
import { Duration, Effect, Latch, Layer, Option } from "effect";

import { EncodedResponse } from "../../../src/domain/EncodedResponse.ts";
import { success } from "../../../src/domain/FunctionResponse.ts";
import type { Job } from "../../../src/domain/Job.ts";
import { liveRoutes } from "../../../src/endpoint/AppRoutes.ts";
import { Drain } from "../../../src/endpoint/Drain.ts";
import { type LaunchLive, LiveApp } from "../../../src/endpoint/LiveApp.ts";
import { LoadBalancer } from "../../../src/endpoint/LoadBalancer.ts";
import { localEndpointRoutes } from "../../../src/endpoint/LocalEndpoint.ts";
import {
  endpointServer,
  type EndpointServerOptions,
} from "../../../src/endpoint/http/EndpointServer.ts";
import { LocalQueue } from "../../../src/endpoint/jobs/LocalQueue.ts";
import { JobStore } from "../../../src/endpoint/store/JobStore.ts";

export const serverOptions: EndpointServerOptions = {
  host: "127.0.0.1",
  port: Option.some(0),
  keys: [],
  isBehindGateway: false,
};

/** A local endpoint that runs until the test ends. `work` completes each job with its input as output. */
export const endpoint = Effect.fnUntraced(function* (
  changes: Partial<EndpointServerOptions> = {},
  handle: LoadBalancer["Service"]["handle"] = ({ input }) =>
    Effect.succeed(EncodedResponse.of(success({ stdout: JSON.stringify(input) }))),
  launch: LaunchLive = () => Effect.die("no app is expected"),
) {
  const ready = Latch.makeUnsafe();
  const context = yield* Layer.build(
    Layer.mergeAll(LocalQueue.layer, Drain.layer, LiveApp.layer(Effect.succeed(launch))).pipe(
      Layer.provide([JobStore.layerNone, NodeHttpClient.layerUndici]),
      Layer.provideMerge(NodeServices.layer),
    ),
  );
  const { port, serve } = yield* endpointServer({ ...serverOptions, ...changes });
  yield* serve(
    localEndpointRoutes.pipe(
      Layer.provide(Layer.succeed(LoadBalancer, { handle, ready })),
      Layer.provide(Layer.succeedContext(context)),
    ),
    yield* Effect.provide(liveRoutes, context),
  );
  const queue = yield* Effect.provide(LocalQueue, context);
  const drain = yield* Effect.provide(Drain, context);
  const complete = ({ id, input }: Job) =>
    queue.forWorker.complete(
      id,
      Buffer.from(JSON.stringify(input === "fail" ? { error: "no" } : { output: input })),
      false,
      Duration.seconds(1),
    );
  const work = queue.forWorker.take(1, false).pipe(
    Effect.flatMap(({ jobs }) => Effect.forEach(jobs, complete)),
    Effect.forever,
  );
  return { port, ready, queue, drain, work };
});
