import { Effect } from "effect";

/** What an effect did to the process that ran it. */
export interface Measured<A> {
  readonly value: A;
  /** The longest time that the event loop was blocked, in milliseconds of its own work. */
  readonly longestGap: number;
  /** By how much more memory the process had at its largest than at the start, in bytes. */
  readonly growth: number;
}

/** How long this thread has worked, in milliseconds. */
const worked = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
};

/**
 * Runs an effect and looks at each turn of the event loop how much this thread has worked since the turn
 * before. Other programs on the machine, which only make it wait, do not count.
 */
export const measured = Effect.fnUntraced(function* <A, E, R>(
  effect: Effect.Effect<A, E, R>,
): Effect.fn.Return<Measured<A>, E, R> {
  const start = process.memoryUsage.rss();
  let before = worked();
  let longestGap = 0;
  let largest = start;
  const look = () => {
    const now = worked();
    longestGap = Math.max(longestGap, now - before);
    before = now;
    largest = Math.max(largest, process.memoryUsage.rss());
  };
  const timer = setInterval(look, 1);
  const value = yield* Effect.ensuring(
    effect,
    Effect.sync(() => {
      look();
      clearInterval(timer);
    }),
  );
  return { value, longestGap, growth: largest - start };
});

/** The best of a few tries, without the time of a garbage collection or a cold start. */
export const bestOf = Effect.fnUntraced(function* <A, E, R>(
  tries: number,
  effect: Effect.Effect<A, E, R>,
  limit: number,
): Effect.fn.Return<Measured<A>, E, R> {
  let best = yield* measured(effect);
  for (let left = tries - 1; left > 0 && best.longestGap > limit; left -= 1) {
    const next = yield* measured(effect);
    if (next.longestGap < best.longestGap) best = next;
  }
  return best;
});
