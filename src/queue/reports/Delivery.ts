import { Cause, Context, Effect, FiberSet, Latch, Layer, Option, Semaphore } from "effect";

import { JobQueue } from "../JobQueue.ts";
import type { JobResult } from "./JobResult.ts";
import { makeResultSender } from "./ResultSender.ts";
import { ResultStore } from "./ResultStore.ts";

/** The maximum bytes of results that wait for delivery; above this, a job keeps its slot until others are delivered. */
const MAX_WAITING_BYTES = 256 * 1024 * 1024;

/** Sends results to RunPod in the background, with retries; the slots of their jobs are free meanwhile. */
export class Delivery extends Context.Service<
  Delivery,
  {
    /**
     * Accepts a result, and returns when there is memory for it, so that its job keeps its slot until then. The result
     * is sent after `before`, with retries while RunPod fails; `finished` runs when it is delivered, stored or lost
     * (which is logged). An interruption of the caller does not affect the delivery.
     */
    readonly accept: (
      result: JobResult,
      before: Effect.Effect<void>,
      finished: Effect.Effect<void>,
    ) => Effect.Effect<void>;
    /** Sends stored results that an earlier worker could not deliver. */
    readonly resume: Effect.Effect<void>;
    /** Waits until all results are delivered, stored or lost. */
    readonly idle: Effect.Effect<void>;
  }
>()("worker-tetra/queue/reports/Delivery") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const store = yield* ResultStore;
      const { deliver, storeOrLose } = yield* makeResultSender;
      const capacity = Semaphore.makeUnsafe(MAX_WAITING_BYTES);
      const sending = yield* FiberSet.make<void>();

      /** Stores the result, or logs its loss, if the delivery is interrupted or fails by a defect. */
      const ensureStored = (result: JobResult, work: Effect.Effect<void>) =>
        Effect.onError(work, (cause) =>
          storeOrLose(
            result,
            Cause.hasInterruptsOnly(cause)
              ? "the worker stopped before RunPod accepted it"
              : `sending it failed (${String(Cause.squash(cause))})`,
          ),
        );

      const accept = Effect.fnUntraced(function* (
        result: JobResult,
        before: Effect.Effect<void>,
        finished: Effect.Effect<void>,
      ) {
        const hasCapacity = yield* Latch.make();
        const work = hasCapacity.open.pipe(
          Effect.andThen(before),
          Effect.andThen(deliver(result)),
          capacity.withPermits(Math.min(result.body.length, MAX_WAITING_BYTES)),
          Effect.interruptible,
        );
        // Uninterruptible: an interruption before its first step would lose the result.
        const sender = yield* ensureStored(result, work).pipe(
          Effect.ensuring(Effect.andThen(hasCapacity.open, finished)),
          Effect.annotateLogs({ requestId: result.jobId }),
          Effect.forkDetach({ uninterruptible: true }),
        );
        yield* FiberSet.add(sending, sender);
        yield* Effect.interruptible(hasCapacity.await);
      }, Effect.uninterruptible);

      /**
       * Loads one result and waits until there is memory for it: all of them together may be larger than the memory.
       */
      const resumeOne = Effect.fnUntraced(function* (
        load: Effect.Effect<Option.Option<JobResult>>,
      ) {
        const result = yield* load;
        if (Option.isNone(result)) return;
        const { jobId } = result.value;
        yield* Effect.logInfo(`Sending the result of job ${jobId}, stored by an earlier worker`);
        yield* accept(result.value, Effect.void, Effect.void);
        // Uninterruptible: loading removes the file, so the result is only in memory until it is accepted.
      }, Effect.uninterruptible);

      return Delivery.of({
        accept,
        resume: Effect.gen(function* () {
          for (const load of yield* store.kept) yield* resumeOne(load);
        }),
        idle: FiberSet.awaitEmpty(sending),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([JobQueue.layer, ResultStore.layer]));
}
