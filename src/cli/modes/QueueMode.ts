import { Effect, Latch, Option, Ref } from "effect";

import manifest from "../../../package.json" with { type: "json" };
import { both, JobListener } from "../../domain/JobEvents.ts";
import { functionHandler } from "../../functions/FunctionHandler.ts";
import { Fitness } from "../../health/Fitness.ts";
import type { Unfit } from "../../health/Unfit.ts";
import { BackgroundWork } from "../../platform/BackgroundWork.ts";
import type { Handler } from "../../queue/Handler.ts";
import { QueueWorker } from "../../queue/QueueWorker.ts";
import { Webhooks } from "../../queue/runpod/Webhooks.ts";
import { CONCURRENCY } from "../../settings/Concurrency.ts";
import { ENDPOINT_ID } from "../../workspace/Volume.ts";
import { liveOutput } from "../process/LiveOutput.ts";
import { liveness } from "../process/Liveness.ts";
import { Shutdown } from "../process/Shutdown.ts";
import { checkGpu, machineHealth, ensurePythonStarts, readAhead, warmAll } from "./Readiness.ts";

/** The origin of the queue's URL; the rest of the URL may contain secrets. */
const originOf = (address: Option.Option<string>): string =>
  Option.match(address, {
    onNone: () => "no URL",
    onSome: (url) => (URL.canParse(url) ? new URL(url).origin : "an invalid URL"),
  });

/** What a worker of RunPod's queue does with jobs. */
interface QueueMode<R, R2, R3> {
  /** What it serves, for the log. */
  readonly title: string;
  readonly handler: Handler<R>;
  /** Must succeed before the first job is taken. */
  readonly prepare: Effect.Effect<void, Unfit, R2>;
  /** Runs after that, while jobs are taken. */
  readonly warm: Effect.Effect<void, Unfit, R3>;
}

/** Takes jobs until shutdown is requested or the machine turns out to be unfit, then waits for running jobs. */
export const takeJobsFor = Effect.fnUntraced(function* <R, R2, R3>({
  title,
  handler,
  prepare,
  warm,
}: QueueMode<R, R2, R3>) {
  const worker = yield* QueueWorker;
  const background = yield* BackgroundWork;
  const webhooks = yield* Webhooks;
  const shutdown = yield* Shutdown;
  const fitness = yield* Fitness;
  const endpoint = yield* ENDPOINT_ID.value;
  yield* Effect.logInfo(
    `worker-tetra ${manifest.version} started for endpoint ${endpoint}, ${title}`,
  );
  yield* liveness;
  yield* Effect.tapError(fitness.check, ({ message }) => Effect.logError(message));
  const health = yield* machineHealth;
  const ready = yield* Latch.make();
  const verdict = yield* Ref.make(Option.none<Unfit>());
  const prepareFirst = prepare.pipe(
    Effect.andThen(Effect.logInfo(`Ready: taking jobs from ${originOf(webhooks.take(1, false))}`)),
    Effect.andThen(ready.open),
  );
  const supervise = Effect.all([Effect.andThen(prepareFirst, warm), checkGpu, health.watch], {
    concurrency: "unbounded",
    discard: true,
  }).pipe(
    Effect.tapErrorTag("Unfit", (unfit) =>
      Effect.andThen(Ref.set(verdict, Option.some(unfit)), Effect.logError(unfit.message)),
    ),
    // Running jobs finish, and their results are delivered.
    Effect.onError(() => worker.drain),
  );
  const reason = yield* Ref.make("WORKER_REFRESH is set");
  yield* shutdown.requested.pipe(
    Effect.andThen(Ref.set(reason, "shutdown requested")),
    Effect.andThen(background.stop),
    Effect.andThen(worker.drain),
    Effect.forkScoped,
  );
  const supervising = yield* Effect.forkScoped(supervise);
  const { done, failed, stopped } = yield* Effect.provideService(
    worker.run(handler, {
      beforeTake: Effect.andThen(ready.await, health.beforeTake),
    }),
    JobListener,
    both(liveOutput, health.events),
  );
  const unfit = yield* Ref.get(verdict);
  yield* Effect.logInfo(
    `Worker stopped (${Option.isSome(unfit) ? "this machine is unfit" : yield* Ref.get(reason)}): ${done} jobs done, ${failed} failed, ${stopped} stopped`,
  );
  if (Option.isSome(unfit)) return yield* unfit.value;
  // A defect in the code that supervises the worker must not look like a normal exit.
  const end = supervising.pollUnsafe();
  if (end !== undefined) yield* end;
}, Effect.scoped);

/** Takes live requests. */
export const takeJobs = Effect.gen(function* () {
  yield* readAhead;
  const concurrency = yield* CONCURRENCY.value;
  yield* takeJobsFor({
    title: `${concurrency} ${concurrency === 1 ? "job" : "jobs"} at a time`,
    handler: functionHandler,
    prepare: ensurePythonStarts,
    warm: warmAll,
  });
}).pipe(Effect.scoped);
