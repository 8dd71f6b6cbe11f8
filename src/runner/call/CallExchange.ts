import { Deferred, Duration, Effect, Option, Schedule } from "effect";

import * as Setting from "../../settings/Setting.ts";
import type { RunnerSession } from "../RunnerSession.ts";
import type { Exchange, ExchangeEnd } from "./Exchanges.ts";

const JOB_TIMEOUT = Setting.optionalSeconds({
  name: "WORKER_JOB_TIMEOUT",
  doc: "How long a job's code may run before it is stopped.",
});

const CANCEL_GRACE = Setting.seconds({
  name: "WORKER_CANCEL_GRACE",
  doc: "Time between asking code to stop (SIGINT) and killing its process (SIGKILL).",
  minimum: Duration.zero,
  fallback: Duration.seconds(5),
});

/** SIGKILL takes effect at once, unless the process is stuck in a driver. */
const KILL_TIMEOUT = Duration.seconds(10);

interface TimeLimits {
  /** How long a call may run. */
  readonly timeout: Option.Option<Duration.Duration>;
  /** How long it may take to stop when it is asked to. */
  readonly cancelGrace: Duration.Duration;
}

export const timeLimits = Effect.gen(function* () {
  const limits: TimeLimits = {
    timeout: yield* JOB_TIMEOUT.value,
    cancelGrace: yield* CANCEL_GRACE.value,
  };
  return limits;
});

export interface FinishedExchange {
  readonly end: ExchangeEnd;
  /** Whether the time limit was over, so that it was asked to stop. */
  readonly hasTimedOut: boolean;
}

/** Asks the code to stop, and kills the process if it does not. */
const stop = Effect.fnUntraced(function* (
  { process }: RunnerSession,
  exchange: Exchange,
  grace: Duration.Duration,
) {
  // Asked a second time half-way: the first may have come before the code began, and was lost.
  const asking = Effect.repeat(
    Effect.sync(() => process.interrupt()),
    Schedule.spaced(Duration.divideUnsafe(grace, 2)),
  );
  const end = yield* Deferred.await(exchange.end).pipe(
    Effect.raceFirst(Effect.andThen(asking, Effect.never)),
    Effect.timeoutOption(grace),
  );
  if (Option.isSome(end)) return end.value;
  process.kill();
  const killed = yield* Effect.timeoutOption(Deferred.await(exchange.end), KILL_TIMEOUT);
  return Option.getOrElse(killed, (): ExchangeEnd => ({
    exit: { code: undefined, signal: "SIGKILL" },
  }));
});

const withinTimeout = (end: ExchangeEnd): FinishedExchange => ({ end, hasTimedOut: false });
const afterTimeout = (end: ExchangeEnd): FinishedExchange => ({ end, hasTimedOut: true });

const awaitEnd = (
  session: RunnerSession,
  exchange: Exchange,
  { timeout, cancelGrace }: TimeLimits,
): Effect.Effect<FinishedExchange> => {
  const ended = Effect.map(Deferred.await(exchange.end), withinTimeout);
  if (Option.isNone(timeout)) return ended;
  return Effect.timeoutOrElse(ended, {
    duration: timeout.value,
    orElse: () => Effect.map(stop(session, exchange, cancelGrace), afterTimeout),
  });
};

/** Runs an exchange from its first byte to its end. Once it has begun, interrupting it stops the code first. */
export const exchange = (
  session: RunnerSession,
  begin: () => Exchange,
  limits: TimeLimits,
): Effect.Effect<FinishedExchange> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const begun = begin();
      return restore(awaitEnd(session, begun, limits)).pipe(
        Effect.onInterrupt(() => stop(session, begun, limits.cancelGrace)),
        Effect.ensuring(Effect.sync(() => session.finish())),
      );
    }),
  );
