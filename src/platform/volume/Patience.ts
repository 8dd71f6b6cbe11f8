import { Deferred, Duration, Effect, Exit, Ref } from "effect";

import type { PendingRequest } from "./VolumeConnection.ts";

/** Time after which a slow operation is logged. */
const WARN_AFTER = Duration.seconds(5);

/** Unit of waiting. A pause of the worker counts as one of them, so that it is not taken for an outage. */
const SLICE = Duration.seconds(1);

/** Waits for replies, and logs when a volume stops and starts to respond. */
export const patience = Effect.fnUntraced(function* (volume: string) {
  /** The number of operations that take long. */
  const slow = yield* Ref.make(0);

  const becomeSlow = Effect.fnUntraced(function* (what: string, deadline: Duration.Duration) {
    if ((yield* Ref.getAndUpdate(slow, (count) => count + 1)) > 0) return;
    yield* Effect.logWarning(
      `The network volume ${volume} does not respond (${what}). Waiting for up to ${Duration.format(deadline)}.`,
    );
  });

  const endSlow = Effect.fnUntraced(function* (exit: Exit.Exit<unknown, unknown>) {
    const others = yield* Ref.updateAndGet(slow, (count) => count - 1);
    if (others > 0 || Exit.isFailure(exit)) return;
    yield* Effect.logInfo(`The network volume ${volume} responds again`);
  });

  /** The reply to a request; runs `expired` if there is neither reply nor progress for the time of the deadline. */
  return <E>(
    pending: PendingRequest,
    what: string,
    deadline: Duration.Duration,
    expired: Effect.Effect<never, E>,
  ) => {
    const slice = Duration.min(SLICE, deadline);
    let isSlow = false;
    const expiry = Effect.gen(function* () {
      let waited = Duration.zero;
      while (Duration.isLessThan(waited, deadline)) {
        yield* Effect.sleep(slice);
        waited = pending.hasProgressed ? Duration.zero : Duration.sum(waited, slice);
        pending.hasProgressed = false;
        if (isSlow || Duration.isLessThan(waited, WARN_AFTER)) continue;
        isSlow = true;
        yield* becomeSlow(what, deadline);
      }
      return yield* expired;
    });
    return Effect.raceFirst(Deferred.await(pending.reply), expiry).pipe(
      Effect.onExit((exit) => (isSlow ? endSlow(exit) : Effect.void)),
    );
  };
});
