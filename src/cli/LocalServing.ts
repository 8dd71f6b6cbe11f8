import { Console, Effect, Latch, Layer, Option, Redacted } from "effect";

import { endpointServer } from "../endpoint/EndpointServer.ts";
import { JobStore } from "../endpoint/JobStore.ts";
import { LoadBalancer } from "../endpoint/LoadBalancer.ts";
import { localEndpointRoutes } from "../endpoint/LocalEndpoint.ts";
import { LocalQueue } from "../endpoint/LocalQueue.ts";
import { PythonRunner } from "../execution/PythonRunner.ts";
import { RemoteExecutor } from "../execution/RemoteExecutor.ts";
import { JobEvents } from "../protocol/JobEvents.ts";
import { Delivery } from "../runpod/Delivery.ts";
import { functionHandler } from "../runpod/FunctionHandler.ts";
import { Heartbeat } from "../runpod/Heartbeat.ts";
import { JobQueue } from "../runpod/JobQueue.ts";
import { ResultStore } from "../runpod/ResultStore.ts";
import { Webhooks } from "../runpod/Webhooks.ts";
import { Worker } from "../runpod/Worker.ts";
import { Environment } from "../settings/Environment.ts";
import { liveOutput } from "./LiveOutput.ts";
import { SERVE_CONCURRENCY } from "./serve.ts";
import { Failed, refuse } from "./Failure.ts";
import { Shutdown } from "./Shutdown.ts";

/** Answers that wait for something are given so much time at the end, after the last job: seconds. */
const FAREWELL = 1;

export interface ServingOptions {
  readonly host: string;
  readonly port: Option.Option<number>;
  readonly concurrency: Option.Option<number>;
  /** A folder for jobs to outlive a restart. */
  readonly keep: Option.Option<string>;
  /** What clients must send. */
  readonly key: Option.Option<Redacted.Redacted<string>>;
}

const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || host.startsWith("127.");

/** All that carries out jobs, with a queue of its own. */
const layerOf = (environment: Layer.Layer<Environment>, keep: Option.Option<string>) => {
  const queue = LocalQueue.layer.pipe(
    Layer.provide(
      Option.match(keep, { onNone: () => JobStore.layerNone, onSome: JobStore.layerFolder }),
    ),
  );
  const forWorker = Layer.effect(
    JobQueue,
    Effect.map(LocalQueue, (local) => local.forWorker),
  );
  const worker = Worker.layerNoDeps.pipe(
    Layer.provide([Delivery.layerNoDeps, Heartbeat.layerNoDeps]),
    Layer.provide([forWorker, ResultStore.layer, Webhooks.layer]),
    Layer.provideMerge(queue),
  );
  // Nothing is shared with a worker that was made from the unamended environment.
  return Layer.fresh(
    Layer.mergeAll(worker, RemoteExecutor.layer, PythonRunner.layer).pipe(
      Layer.provideMerge(environment),
    ),
  );
};

/** Works on the queue until somebody asks for an end; what is at work is finished first. */
const work = Effect.fn("serve.work")(function* (ready: Latch.Latch, keeps: boolean) {
  const worker = yield* Worker;
  const queue = yield* LocalQueue;
  const runner = yield* PythonRunner;
  const shutdown = yield* Shutdown;
  yield* Effect.forkScoped(
    Effect.matchEffect(runner.warm, {
      onSuccess: () => ready.open,
      onFailure: ({ message }) => Effect.logWarning(`Not ready yet: ${message}`),
    }),
  );
  // What is kept is run again by the next process, so there is nothing to wait for.
  if (!keeps) yield* Effect.forkScoped(Effect.andThen(shutdown.requested, worker.drain));
  yield* Effect.provideService(worker.run(functionHandler), JobEvents, liveOutput);
  const { IN_QUEUE: waiting } = yield* queue.counts;
  if (waiting > 0) yield* Effect.logWarning(`${waiting} jobs in the queue were not begun`);
});

/** A RunPod endpoint on this machine, until somebody asks for its end. */
export const serveLocally = Effect.fn("serve")(
  function* ({ host, port, concurrency, keep, key }: ServingOptions) {
    const server = yield* endpointServer({
      host,
      port,
      key,
      isLoopback: isLoopback(host),
      grace: Option.some(FAREWELL),
    });
    const here = `http://${host.includes(":") ? `[${host}]` : host}:${server.port}`;
    const local = `http://127.0.0.1:${server.port}`;
    const amended = (yield* Environment).amended(
      {
        WORKER_PROGRESS: "output",
        WORKER_CONCURRENCY: String(SERVE_CONCURRENCY),
        // Code of a job that calls another function finds it here.
        RUNPOD_ENDPOINT_BASE_URL: `${isLoopback(host) ? here : local}/v2`,
        ...(Option.isSome(key) ? { RUNPOD_API_KEY: Redacted.value(key.value) } : {}),
      },
      Option.isSome(concurrency) ? { WORKER_CONCURRENCY: String(concurrency.value) } : {},
    );
    if (!isLoopback(host) && Option.isNone(key)) {
      yield* Effect.logWarning(
        `Whoever reaches ${here} can run code here. Set WORKER_SERVE_KEY, or listen on 127.0.0.1.`,
      );
    }
    const services = yield* Layer.build(layerOf(amended, keep));
    const ready = Latch.makeUnsafe();
    yield* server.serve(
      localEndpointRoutes.pipe(
        Layer.provide(LoadBalancer.layer(ready, liveOutput)),
        Layer.provide(Layer.succeedContext(services)),
      ),
    );
    yield* Console.error(
      [
        `Serving a RunPod endpoint on ${here} (routes: ${here}/docs)`,
        `For clients: export RUNPOD_ENDPOINT_BASE_URL=${here}/v2 RUNPOD_API_KEY=${Option.isSome(key) ? "<the key>" : "local"}`,
      ].join("\n"),
    );
    yield* Effect.provide(work(ready, Option.isSome(keep)), services);
  },
  Effect.scoped,
  Effect.catchTags({
    ListenFailed: ({ message }) =>
      Effect.andThen(Console.error(message), Effect.fail(new Failed({ exitCode: 1 }))),
    JobStoreUnusable: refuse,
  }),
);
