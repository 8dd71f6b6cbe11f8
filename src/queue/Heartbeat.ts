import { Context, Duration, Effect, Layer, Option, Schedule } from "effect";

import * as Setting from "../settings/Setting.ts";
import { stopwatch } from "../settings/SteadyClock.ts";
import { JobQueue } from "./JobQueue.ts";
import { Webhooks } from "./Webhooks.ts";

const INTERVAL = Setting.integer({
  name: "RUNPOD_PING_INTERVAL",
  doc: "Time between two heartbeats, set by RunPod.",
  unit: "milliseconds",
  minimum: 10,
  fallback: 10_000,
});

/** The version of RunPod's own worker library whose protocol this is. */
export const PROTOCOL_VERSION = "1.12.0";

/** The shortest time between two warnings about failed heartbeats. */
const COMPLAINT_INTERVAL = Duration.minutes(1);

/** Tells the service that this worker lives, and which jobs it has. */
export class Heartbeat extends Context.Service<
  Heartbeat,
  {
    /** Goes on until it is interrupted. */
    readonly beat: (jobIds: () => ReadonlyArray<string>) => Effect.Effect<void>;
  }
>()("worker-tetra/queue/Heartbeat") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const queue = yield* JobQueue;
      const webhooks = yield* Webhooks;
      const interval = yield* INTERVAL.value;
      const isWanted =
        webhooks.isRegistered && Option.isSome(webhooks.key) && Option.isSome(webhooks.ping({}));

      const beat = Effect.fnUntraced(function* (jobIds: () => ReadonlyArray<string>) {
        if (!isWanted) return;
        let failing = false;
        let sinceWarning: Effect.Effect<Duration.Duration> = Effect.succeed(COMPLAINT_INTERVAL);
        const once = Effect.gen(function* () {
          const ids = jobIds();
          const outcome = yield* Effect.result(
            queue.ping(
              {
                ...(ids.length === 0 ? {} : { job_id: ids.join(",") }),
                runpod_version: PROTOCOL_VERSION,
              },
              (2 * interval) / 1000,
            ),
          );
          if (outcome._tag === "Success") {
            if (failing) yield* Effect.logInfo("Heartbeat works again");
            failing = false;
            return;
          }
          failing = true;
          if (Duration.isLessThan(yield* sinceWarning, COMPLAINT_INTERVAL)) return;
          sinceWarning = yield* stopwatch;
          yield* Effect.logWarning(
            `Heartbeat failed (${outcome.failure.message}); retrying. Jobs are not affected.`,
          );
          // RunPod gives up on a worker without a heartbeat, so no defect may end it.
        }).pipe(Effect.catchDefect((defect) => Effect.logError("Heartbeat failed", defect)));
        yield* Effect.repeat(once, Schedule.fixed(interval));
      });

      return Heartbeat.of({ beat });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([JobQueue.layer, Webhooks.layer]));
}
