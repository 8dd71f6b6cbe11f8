import { Duration, Effect, Option, Ref } from "effect";

import { stopwatch } from "../../settings/SteadyClock.ts";

/** The shortest time between two warnings of the same kind. */
const MIN_INTERVAL = Duration.minutes(1);

interface Last {
  readonly kind: string;
  readonly elapsed: Effect.Effect<Duration.Duration>;
}

/**
 * Returns a function that logs a warning, unless the previous one was of the same kind and less than a minute ago.
 * The kind is the message by default.
 */
export const makeThrottledWarning = Effect.gen(function* () {
  const last = yield* Ref.make(Option.none<Last>());
  return Effect.fnUntraced(function* (message: string, kind = message) {
    const previous = Option.filter(yield* Ref.get(last), (one) => one.kind === kind);
    if (Option.isSome(previous)) {
      if (Duration.isLessThan(yield* previous.value.elapsed, MIN_INTERVAL)) return;
    }
    yield* Ref.set(last, Option.some({ kind, elapsed: yield* stopwatch }));
    yield* Effect.logWarning(message);
  });
});
