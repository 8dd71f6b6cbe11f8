import { Deferred, Duration, Effect, Option, Schedule } from "effect";

import * as Setting from "../../settings/Setting.ts";
import type { RunnerSession } from "../RunnerSession.ts";
import type { Exchange, ExchangeEnd } from "./Exchanges.ts";

const JOB_TIMEOUT = Setting.optionalSeconds({
  name: "WORKER_JOB_TIMEOUT",
  doc: "Maximum run time of a job's code; then it is stopped.",
});

const CANCEL_GRACE = Setting.seconds({
  name: "WORKER_CANCEL_GRACE",
  doc: "Time between interrupting a job's code (SIGINT) and killing its process (SIGKILL).",
  minimum: Duration.zero,
  fallback: Duration.seconds(5),
});

/** SIGKILL takes effect at once, unless the process is stuck in a driver. */
const KILL_TIMEOUT = Duration.seconds(10);

export interface TimeLimits {
  readonly timeout: Option.Option<Duration.Duration>;
  /** The time between SIGINT and SIGKILL. */
  readonly cancelGrace: Duration.Duration;
  /** Whether the code ends gracefully after one SIGINT: a second one would end it at once. */
  readonly isGraceful?: boolean;
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
  /** Whether the code was stopped because of the timeout. */
  readonly hasTimedOut: boolean;
}

/** Interrupts the code, and kills the process if the code does not stop. */
const stop = Effect.fnUntraced(function* (
  { process, imports }: RunnerSession,
  exchange: Exchange,
  { cancelGrace: grace, isGraceful = false }: TimeLimits,
) {
  const interrupt = Effect.sync(() => process.interrupt());
  // Interrupts a second time after half of the grace time: the first SIGINT has no effect before the code starts.
  const interrupting = isGraceful
    ? interrupt
    : Effect.repeat(interrupt, Schedule.spaced(Duration.divideUnsafe(grace, 2)));
  const end = yield* Deferred.await(exchange.end).pipe(
    Effect.raceFirst(Effect.andThen(interrupting, Effect.never)),
    Effect.timeoutOption(grace),
  );
  if (Option.isSome(end)) return end.value;
  imports.abandon();
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
  limits: TimeLimits,
): Effect.Effect<FinishedExchange> => {
  const ended = Effect.map(Deferred.await(exchange.end), withinTimeout);
  if (Option.isNone(limits.timeout)) return ended;
  return Effect.timeoutOrElse(ended, {
    duration: limits.timeout.value,
    orElse: () => Effect.map(stop(session, exchange, limits), afterTimeout),
  });
};

/** Runs an exchange until it ends. An interruption stops the code before the exchange finishes. */
export const exchange = (
  session: RunnerSession,
  begin: () => Exchange,
  limits: TimeLimits,
): Effect.Effect<FinishedExchange> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const begun = begin();
      return restore(awaitEnd(session, begun, limits)).pipe(
        Effect.onInterrupt(() => stop(session, begun, limits)),
        Effect.ensuring(Effect.sync(() => session.finish(begun))),
      );
    }),
  );
