/** Random decisions that follow from a seed alone (mulberry32). */
export interface Chance {
  /** At least 0, below 1. */
  readonly next: () => number;
  /** Whether something with this probability happens. */
  readonly hits: (probability: number) => boolean;
  /** A number from a range. */
  readonly between: (least: number, most: number) => number;
  readonly pick: <A>(choices: readonly [A, ...ReadonlyArray<A>]) => A;
}

export const chance = (seed: number): Chance => {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  return {
    next,
    hits: (probability) => next() < probability,
    between: (least, most) => least + next() * (most - least),
    pick: (choices) => choices[Math.floor(next() * choices.length)] ?? choices[0],
  };
};
