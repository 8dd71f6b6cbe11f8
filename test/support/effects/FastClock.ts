import { Effect } from "effect";
import { TestClock } from "effect/testing";

/** How much time passes, and in how many turns of the event loop. */
const STEP = "50 millis";
const TURNS_OF_A_STEP = 4;

const eventLoopTurn = Effect.callback<void>((resume) => {
  setImmediate(() => resume(Effect.void));
});

/**
 * A clock that runs as fast as the event loop turns, until the scope closes. Pauses and timeouts take no real time, and
 * connections within this process are still faster than any timeout: they need a few turns.
 */
export const fastClock = Effect.gen(function* () {
  const clock = yield* TestClock.make({ warningDelay: "1 hour" });
  yield* eventLoopTurn.pipe(
    Effect.repeat({ times: TURNS_OF_A_STEP }),
    Effect.andThen(clock.adjust(STEP)),
    Effect.forever,
    Effect.forkScoped,
  );
  return clock;
});
