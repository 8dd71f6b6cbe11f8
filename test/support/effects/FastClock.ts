import { Effect } from "effect";
import { TestClock } from "effect/testing";

/** The clock advances by one step each time that the event loop has run this many turns. */
const STEP = "50 millis";
const TURNS_PER_STEP = 4;

const eventLoopTurn = Effect.callback<void>((resume) => {
  setImmediate(() => resume(Effect.void));
});

/**
 * A clock that runs as fast as the event loop, until the scope closes. Pauses and timeouts take almost no real time.
 * Connections within this process need only a few turns, so they still complete before any timeout.
 */
export const fastClock = Effect.gen(function* () {
  const clock = yield* TestClock.make({ warningDelay: "1 hour" });
  yield* eventLoopTurn.pipe(
    Effect.repeat({ times: TURNS_PER_STEP }),
    Effect.andThen(clock.adjust(STEP)),
    Effect.forever,
    Effect.forkScoped,
  );
  return clock;
});
