import { Deferred, Duration, Effect, Option } from "effect";

import type { RunnerSession } from "../RunnerSession.ts";
import type { FinishedExchange, TimeLimits } from "./CallExchange.ts";
import type { Exchange } from "./Exchanges.ts";

/** How an exchange ended; none if its code did not stop when it was cancelled, and may still run. */
export type OverlappingEnd = Option.Option<FinishedExchange>;

/** Cancels the code of an exchange; none if it does not stop in time. */
const cancel = (session: RunnerSession, exchange: Exchange, { cancelGrace }: TimeLimits) =>
  Effect.suspend(() => {
    session.cancel(exchange);
    // Code that blocks the event loop is stopped by a signal, since the process does not receive frames then.
    const interrupt = Effect.sync(() => session.process.interrupt()).pipe(
      Effect.delay(Duration.divideUnsafe(cancelGrace, 2)),
    );
    return Deferred.await(exchange.end).pipe(
      Effect.raceFirst(Effect.andThen(interrupt, Effect.never)),
      Effect.timeoutOption(cancelGrace),
    );
  });

const awaitEnd = (
  session: RunnerSession,
  exchange: Exchange,
  limits: TimeLimits,
): Effect.Effect<OverlappingEnd> => {
  const ended = Effect.map(Deferred.await(exchange.end), (end) =>
    Option.some({ end, hasTimedOut: false }),
  );
  if (Option.isNone(limits.timeout)) return ended;
  return Effect.timeoutOrElse(ended, {
    duration: limits.timeout.value,
    orElse: () =>
      cancel(session, exchange, limits).pipe(
        Effect.map(Option.map((end) => ({ end, hasTimedOut: true }))),
      ),
  });
};

/**
 * Runs an exchange while others may run in the same process. An interruption cancels only its own code; `abandon` is
 * called if that does not stop in time.
 */
export const overlappingExchange = (
  session: RunnerSession,
  begin: () => Exchange,
  limits: TimeLimits,
  abandon: Effect.Effect<void>,
): Effect.Effect<OverlappingEnd> => {
  const abandonIfRunning = <A>(end: Option.Option<A>) =>
    Option.isNone(end) ? abandon : Effect.void;
  return Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const begun = begin();
      return restore(awaitEnd(session, begun, limits)).pipe(
        Effect.tap(abandonIfRunning),
        Effect.onInterrupt(() => Effect.flatMap(cancel(session, begun, limits), abandonIfRunning)),
        Effect.ensuring(Effect.sync(() => session.finish(begun))),
      );
    }),
  );
};
