/** Only the last lines of an output are examined; workers send far fewer. */
const MAX_LINES = 200;
const MAX_CHARACTERS = 1024 * 1024;

/** Characters of the shown output that are remembered; longer output is shown again in full at the end. */
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

/** Puts a job's output together from its last lines, which each poll returns. */
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
      const isGap = known === 0 && recent.length > 0 && more.length > 0;
      recent = [...recent, ...more].slice(-MAX_LINES);
      if (isGap || shown.length > MAX_REMEMBERED) isWhole = false;
      if (isWhole) shown += more.join("");
      return `${isGap ? "…\n" : ""}${more.join("")}`;
    },
    /** What of the whole output was not shown; all of it where lines are missing. */
    rest: (whole: string): string =>
      isWhole && whole.startsWith(shown) ? whole.slice(shown.length) : whole,
  };
};
