import { Context, Duration, Effect, Layer, Option, Ref, Schedule } from "effect";

import { makeThrottledWarning } from "../../platform/timing/ThrottledWarning.ts";
import * as Setting from "../../settings/Setting.ts";
import { JobQueue } from "../JobQueue.ts";
import { Webhooks } from "../runpod/Webhooks.ts";

const INTERVAL = Setting.integer({
  name: "RUNPOD_PING_INTERVAL",
  doc: "Time between heartbeats, set by RunPod.",
  unit: "milliseconds",
  minimum: 10,
  fallback: 10_000,
});

/** The version of RunPod's Python library whose protocol this worker implements. */
export const PROTOCOL_VERSION = "1.12.0";

/** Reports to RunPod that this worker is alive, and the ids of its jobs. */
export class Heartbeat extends Context.Service<
  Heartbeat,
  {
    /** Runs until it is interrupted. */
    readonly beat: (jobIds: () => ReadonlyArray<string>) => Effect.Effect<void>;
  }
>()("worker-tetra/queue/reports/Heartbeat") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const queue = yield* JobQueue;
      const webhooks = yield* Webhooks;
      const interval = Duration.millis(yield* INTERVAL.value);
      const isEnabled =
        webhooks.isRegistered && Option.isSome(webhooks.key) && Option.isSome(webhooks.ping({}));

      const beat = Effect.fnUntraced(function* (jobIds: () => ReadonlyArray<string>) {
        if (!isEnabled) return;
        const hasFailed = yield* Ref.make(false);
        const warn = yield* makeThrottledWarning;
        const once = Effect.suspend(() => {
          const ids = jobIds();
          return queue.ping(
            {
              ...(ids.length === 0 ? {} : { job_id: ids.join(",") }),
              runpod_version: PROTOCOL_VERSION,
            },
            Duration.times(interval, 2),
          );
        }).pipe(
          Effect.matchEffect({
            onSuccess: () =>
              Effect.flatMap(Ref.getAndSet(hasFailed, false), (wasFailing) =>
                wasFailing ? Effect.logInfo("Heartbeat recovered") : Effect.void,
              ),
            onFailure: ({ message }) =>
              Effect.andThen(
                Ref.set(hasFailed, true),
                warn(
                  `Heartbeat failed (${message}); retrying. Jobs are not affected.`,
                  "heartbeat",
                ),
              ),
          }),
          // RunPod drops a worker without a heartbeat, so a defect must not end it.
          Effect.catchDefect((defect) => Effect.logError("Heartbeat failed", defect)),
        );
        yield* Effect.repeat(once, Schedule.fixed(interval));
      });

      return Heartbeat.of({ beat });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([JobQueue.layer, Webhooks.layer]));
}
