/** As many consecutive characters of a secret as may be seen. */
const VISIBLE = 8;

/** Parts of a secret in a text that are longer than what may be seen of it. */
export const leaksOf = (secret: string, text: string): ReadonlyArray<string> => {
  const leaks: Array<string> = [];
  for (let at = 0; at + VISIBLE < secret.length; at += 1) {
    const part = secret.slice(at, at + VISIBLE + 1);
    if (text.includes(part)) leaks.push(part);
  }
  return leaks;
};
