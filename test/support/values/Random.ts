/** Pseudo-random values that depend only on the seed (mulberry32). */
export interface SeededRandom {
  /** At least 0, below 1. */
  readonly next: () => number;
  /** An integer from 0 to below a limit. */
  readonly below: (limit: number) => number;
  /** A number from a range. */
  readonly between: (least: number, most: number) => number;
  /** True with this probability. */
  readonly hits: (probability: number) => boolean;
  readonly pick: <A>(choices: readonly [A, ...ReadonlyArray<A>]) => A;
  /** A text of this length with characters of an alphabet. */
  readonly text: (alphabet: string, length: number) => string;
  /** Splits bytes into pieces of random length, at least one byte each. */
  readonly pieces: (bytes: Buffer, longest: number) => ReadonlyArray<Buffer>;
}

export const seededRandom = (seed: number): SeededRandom => {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number) => Math.floor(next() * limit);
  return {
    next,
    below,
    between: (least, most) => least + next() * (most - least),
    hits: (probability) => next() < probability,
    pick: (choices) => choices[below(choices.length)] ?? choices[0],
    text: (alphabet, length) => {
      const characters = [...alphabet];
      return Array.from({ length }, () => characters[below(characters.length)]).join("");
    },
    pieces: (bytes, longest) => {
      const cut: Array<Buffer> = [];
      for (let at = 0; at < bytes.length;) {
        const length = 1 + below(longest);
        cut.push(bytes.subarray(at, at + length));
        at += length;
      }
      return cut;
    },
  };
};
