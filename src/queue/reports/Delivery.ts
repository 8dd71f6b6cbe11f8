import { Cause, Context, Effect, FiberSet, Latch, Layer, Option, Semaphore } from "effect";

import { JobQueue } from "../JobQueue.ts";
import type { JobResult } from "./JobResult.ts";
import { makeResultSender } from "./ResultSender.ts";
import { ResultStore } from "./ResultStore.ts";

/** The most bytes of results that wait for delivery; above this, a job keeps its slot until there is room. */
const MAX_WAITING_BYTES = 256 * 1024 * 1024;

/** Sends results to RunPod, with retries, while the slots of their jobs are free already. */
export class Delivery extends Context.Service<
  Delivery,
  {
    /**
     * Accepts a result at once, and returns when there is room for it, so that its job keeps its slot until then. The
     * result is sent after `before`, with retries while RunPod fails; `finished` runs when it is delivered, kept or lost
     * (which is logged). An interruption of the caller does not affect the delivery.
     */
    readonly accept: (
      result: JobResult,
      before: Effect.Effect<void>,
      finished: Effect.Effect<void>,
    ) => Effect.Effect<void>;
    /** Sends the results that an earlier worker could not deliver. */
    readonly resume: Effect.Effect<void>;
    /** Waits until no result waits for delivery. */
    readonly idle: Effect.Effect<void>;
  }
>()("worker-tetra/queue/reports/Delivery") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const store = yield* ResultStore;
      const { deliver, lose } = yield* makeResultSender;
      const room = Semaphore.makeUnsafe(MAX_WAITING_BYTES);
      const sending = yield* FiberSet.make<void>();

      /** Keeps the result or logs its loss, whatever ends the delivery early. */
      const deliverOrLose = (result: JobResult, work: Effect.Effect<void>) =>
        Effect.onError(work, (cause) =>
          lose(
            result,
            Cause.hasInterruptsOnly(cause)
              ? "the worker ended before RunPod took it"
              : `sending it failed (${String(Cause.squash(cause))})`,
          ),
        );

      const accept = Effect.fnUntraced(function* (
        result: JobResult,
        before: Effect.Effect<void>,
        finished: Effect.Effect<void>,
      ) {
        const hasRoom = yield* Latch.make();
        const work = hasRoom.open.pipe(
          Effect.andThen(before),
          Effect.andThen(deliver(result)),
          room.withPermits(Math.min(result.body.length, MAX_WAITING_BYTES)),
          Effect.interruptible,
        );
        // Uninterruptible, so that an interruption before the first step loses nothing either.
        const sender = yield* deliverOrLose(result, work).pipe(
          Effect.ensuring(Effect.andThen(hasRoom.open, finished)),
          Effect.annotateLogs({ requestId: result.jobId }),
          Effect.forkDetach({ uninterruptible: true }),
        );
        yield* FiberSet.add(sending, sender);
        yield* Effect.interruptible(hasRoom.await);
      }, Effect.uninterruptible);

      /** Loads one result when there is room: together they may be larger than the memory. */
      const resumeOne = Effect.fnUntraced(function* (
        load: Effect.Effect<Option.Option<JobResult>>,
      ) {
        const result = yield* load;
        if (Option.isNone(result)) return;
        const { jobId } = result.value;
        yield* Effect.logInfo(`Sending the result of job ${jobId}, kept by an earlier worker`);
        yield* accept(result.value, Effect.void, Effect.void);
        // Uninterruptible, since the result is on no disk from when it is loaded until it is accepted.
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
