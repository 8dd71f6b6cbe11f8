import { Duration, Effect, Random, Schedule } from "effect";

/** The largest random part that is added to a pause, as a fraction of the pause. */
const MAX_JITTER = 0.2;

/** The pause after HTTP status 429. */
const TOO_MANY_REQUESTS_PAUSE = Duration.seconds(5);
const TOO_MANY_REQUESTS = 429;

/** Makes a pause up to 20 % longer, so that workers that fail together do not retry together. */
export const jittered = (pause: Duration.Duration): Effect.Effect<Duration.Duration> =>
  Effect.map(Random.next, (share) => Duration.times(pause, 1 + share * MAX_JITTER));

const doubling = (first: Duration.Input, longest: Duration.Input) =>
  Schedule.min([Schedule.exponential(first), Schedule.spaced(longest)]);

/** Exponential backoff with jitter: pauses double, up to the longest. */
export const backoff = (first: Duration.Input, longest: Duration.Input) =>
  doubling(first, longest).pipe(Schedule.modifyDelay(({ duration }) => jittered(duration)));

/** Backoff for HTTP requests, with a separate pause after status 429. */
export const requestBackoff = (first: Duration.Input, longest: Duration.Input) =>
  doubling(first, longest).pipe(
    Schedule.setInputType<{ readonly status?: number }>(),
    Schedule.modifyDelay(({ input, duration }) =>
      jittered(input.status === TOO_MANY_REQUESTS ? TOO_MANY_REQUESTS_PAUSE : duration),
    ),
  );
