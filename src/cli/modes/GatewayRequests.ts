import { Effect, Option } from "effect";

import { Drain } from "../../endpoint/Drain.ts";
import { SHUTDOWN_GRACE } from "../../queue/Draining.ts";

/** Only RunPod's proxy can reach the container. */
export const GATEWAY_HOST = "0.0.0.0";

/** Waits for running requests, at most as long as WORKER_SHUTDOWN_GRACE allows. */
export const finishRequests = Effect.gen(function* () {
  const drain = yield* Drain;
  const grace = yield* SHUTDOWN_GRACE.value;
  yield* drain.begin;
  const inTime = yield* Option.match(grace, {
    onNone: () => Effect.asSome(drain.requestsFinished),
    onSome: (limit) => Effect.timeoutOption(drain.requestsFinished, limit),
  });
  if (Option.isNone(inTime)) {
    yield* Effect.logWarning("Stopping requests that did not finish within WORKER_SHUTDOWN_GRACE");
  }
});
