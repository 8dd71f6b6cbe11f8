import { Duration, Effect, Random, Schedule } from "effect";

/** The largest share of a pause that is added to it at random. */
const MAX_JITTER = 0.2;

/** The pause after a response with HTTP status 429, "too many requests". */
const TOO_MANY_REQUESTS_PAUSE = Duration.seconds(5);
const TOO_MANY_REQUESTS = 429;

/** A pause that is up to a fifth longer, at random: many workers that fail together must not try again together. */
export const jittered = (pause: Duration.Duration): Effect.Effect<Duration.Duration> =>
  Effect.map(Random.next, (share) => Duration.times(pause, 1 + share * MAX_JITTER));

const doubling = (first: Duration.Input, longest: Duration.Input) =>
  Schedule.min([Schedule.exponential(first), Schedule.spaced(longest)]);

/** Pauses between tries: each is twice as long as the one before, up to the longest, with jitter. */
export const backoff = (first: Duration.Input, longest: Duration.Input) =>
  doubling(first, longest).pipe(Schedule.modifyDelay(({ duration }) => jittered(duration)));

/** The same after failed requests, with a pause of its own when the server is overloaded (429). */
export const requestBackoff = (first: Duration.Input, longest: Duration.Input) =>
  doubling(first, longest).pipe(
    Schedule.setInputType<{ readonly status?: number }>(),
    Schedule.modifyDelay(({ input, duration }) =>
      jittered(input.status === TOO_MANY_REQUESTS ? TOO_MANY_REQUESTS_PAUSE : duration),
    ),
  );
