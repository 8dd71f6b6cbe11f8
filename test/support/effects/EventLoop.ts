import { Effect } from "effect";

/** How an effect affected the process that ran it. */
export interface Measured<A> {
  readonly value: A;
  /** The longest time that the event loop was blocked, in milliseconds of CPU time. */
  readonly longestGap: number;
  /** Peak memory of the process minus its memory at the start, in bytes. */
  readonly growth: number;
}

/** CPU time of this thread, in milliseconds. */
const cpuTime = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
};

/**
 * Runs an effect and measures this thread's CPU time between turns of the event loop. Unlike elapsed time, it does not
 * depend on other programs on the machine.
 */
export const measured = Effect.fnUntraced(function* <A, E, R>(
  effect: Effect.Effect<A, E, R>,
): Effect.fn.Return<Measured<A>, E, R> {
  const start = process.memoryUsage.rss();
  let before = cpuTime();
  let longestGap = 0;
  let largest = start;
  const sample = () => {
    const now = cpuTime();
    longestGap = Math.max(longestGap, now - before);
    before = now;
    largest = Math.max(largest, process.memoryUsage.rss());
  };
  const timer = setInterval(sample, 1);
  const value = yield* Effect.ensuring(
    effect,
    Effect.sync(() => {
      sample();
      clearInterval(timer);
    }),
  );
  return { value, longestGap, growth: largest - start };
});

/** The best of a few runs, to exclude garbage collection and cold starts. */
export const bestOf = Effect.fnUntraced(function* <A, E, R>(
  tries: number,
  effect: Effect.Effect<A, E, R>,
  limit: number,
): Effect.fn.Return<Measured<A>, E, R> {
  let best = yield* measured(effect);
  for (let left = tries - 1; left > 0 && best.longestGap >= limit; left -= 1) {
    const next = yield* measured(effect);
    if (next.longestGap < best.longestGap) best = next;
  }
  return best;
});
