/** Numbers from 0 to 1, the same ones for a seed (mulberry32), and choices made by them. */
export const randomChoices = (seed: number) => {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number) => Math.floor(next() * limit);
  const text = (alphabet: string, length: number): string => {
    const characters = [...alphabet];
    return Array.from({ length }, () => characters[below(characters.length)]).join("");
  };
  /** A text in pieces of random length, at least one byte each. */
  const pieces = (bytes: Buffer, longest: number): ReadonlyArray<Buffer> => {
    const cut: Array<Buffer> = [];
    for (let at = 0; at < bytes.length;) {
      const length = 1 + below(longest);
      cut.push(bytes.subarray(at, at + length));
      at += length;
    }
    return cut;
  };
  return { next, below, text, pieces };
};
