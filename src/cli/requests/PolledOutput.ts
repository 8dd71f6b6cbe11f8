/** Maximum part of an output that is compared, from its end; workers send far less. */
const MAX_LINES = 200;
const MAX_CHARACTERS = 1024 * 1024;

/** Maximum length of shown output that is remembered. Longer output is shown again in full at the end. */
const MAX_REMEMBERED = 16 * 1024 * 1024;

const linesOf = (text: string): ReadonlyArray<string> =>
  text
    .slice(-MAX_CHARACTERS)
    .split(/(?<=\n)/)
    .filter(Boolean)
    .slice(-MAX_LINES);

/** The number of lines at the end of `before` that are also the start of `after`. */
const overlapOf = (before: ReadonlyArray<string>, after: ReadonlyArray<string>): number => {
  let known = Math.min(before.length, after.length);
  const isSame = (count: number) => before.slice(-count).every((line, at) => line === after[at]);
  while (known > 0 && !isSame(known)) known -= 1;
  return known;
};

/** Reassembles a job's output from its last lines, which each poll returns. */
export const polledOutput = () => {
  let shown = "";
  let recent: ReadonlyArray<string> = [];
  let isWhole = true;
  return {
    /** The lines that the previous poll did not return. */
    fresh: (text: string): string => {
      const last = linesOf(text);
      const known = overlapOf(recent, last);
      const more = last.slice(known);
      const hasGap = known === 0 && recent.length > 0 && more.length > 0;
      recent = [...recent, ...more].slice(-MAX_LINES);
      if (hasGap || shown.length > MAX_REMEMBERED) isWhole = false;
      if (isWhole) shown += more.join("");
      return `${hasGap ? "…\n" : ""}${more.join("")}`;
    },
    /** The part of the whole output that was not shown; all of it if lines were missed. */
    rest: (whole: string): string =>
      isWhole && whole.startsWith(shown) ? whole.slice(shown.length) : whole,
  };
};
