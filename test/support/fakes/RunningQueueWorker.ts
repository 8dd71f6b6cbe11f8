import { NodeHttpClient, NodeServices } from "@effect/platform-node";
import { Clock, Effect, Fiber, Layer } from "effect";

import type { Handler } from "../../../src/queue/Handler.ts";
import { QueueWorker } from "../../../src/queue/QueueWorker.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { fastClock } from "../effects/FastClock.ts";
import { keptLogs } from "./CapturedLogs.ts";
import { fakeRunPod, type FakeRunPod, type FakeRunPodOptions } from "./FakeRunPod.ts";

interface Setting extends FakeRunPodOptions {
  readonly variables?: Readonly<Record<string, string>>;
}

/** Gives back what it gets. */
export const echo: Handler = ({ input }) => Effect.succeed(input);

/** A worker with a handler of TypeScript, at work until the test ends, by a clock of its own on which time flies. */
export const startWorker = Effect.fnUntraced(function* (
  handler: Handler,
  { variables = {}, ...options }: Setting = {},
  prepare: (service: FakeRunPod) => void = () => {},
) {
  const clock = yield* fastClock;
  const service = yield* Effect.provideService(fakeRunPod(options), Clock.Clock, clock);
  prepare(service);
  const logs = keptLogs();
  const context = yield* Layer.build(
    QueueWorker.layer.pipe(
      Layer.provide([
        Environment.layerOf({ ...service.variables, WORKER_RESULT_RETRY: "20", ...variables }),
        NodeHttpClient.layerUndici,
      ]),
      Layer.provide(NodeServices.layer),
    ),
  ).pipe(Effect.provideService(Clock.Clock, clock));
  const fiber = yield* Effect.forkScoped(
    Effect.flatMap(QueueWorker, (worker) => worker.run(handler)).pipe(
      Effect.provide(context),
      Effect.provide(logs.layer),
      Effect.provideService(Clock.Clock, clock),
    ),
  );
  return {
    service,
    logs,
    drain: Effect.flatMap(QueueWorker, (worker) => worker.drain).pipe(Effect.provide(context)),
    ended: Fiber.join(fiber),
  };
});
