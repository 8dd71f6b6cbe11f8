import { NodeHttpClient, NodeServices } from "@effect/platform-node";
import { Clock, Effect, Fiber, Layer } from "effect";

import type { Handler } from "../../../src/queue/Handler.ts";
import { QueueWorker } from "../../../src/queue/QueueWorker.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { fastClock } from "../effects/FastClock.ts";
import { keptLogs } from "./CapturedLogs.ts";
import { fakeRunPod, type FakeRunPod, type FakeRunPodOptions } from "./FakeRunPod.ts";

interface WorkerOptions extends FakeRunPodOptions {
  readonly variables?: Readonly<Record<string, string>>;
}

/** A handler that returns its input. */
export const echo: Handler = ({ input }) => Effect.succeed(input);

/** A queue worker with a TypeScript handler, which runs until the test ends, on a fast clock. */
export const startWorker = Effect.fnUntraced(function* (
  handler: Handler,
  { variables = {}, ...options }: WorkerOptions = {},
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
    setConcurrency: (jobs: number) =>
      Effect.provide(
        Effect.flatMap(QueueWorker, (worker) => worker.setConcurrency(jobs)),
        context,
      ),
    drain: Effect.flatMap(QueueWorker, (worker) => worker.drain).pipe(Effect.provide(context)),
    ended: Fiber.join(fiber),
  };
});
