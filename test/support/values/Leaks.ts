/** The number of consecutive characters of a secret that may be shown. */
const VISIBLE = 8;

/** Parts of a secret that a text shows although they are longer than allowed. */
export const leaksOf = (secret: string, text: string): ReadonlyArray<string> => {
  const leaks: Array<string> = [];
  for (let at = 0; at + VISIBLE < secret.length; at += 1) {
    const part = secret.slice(at, at + VISIBLE + 1);
    if (text.includes(part)) leaks.push(part);
  }
  return leaks;
};
