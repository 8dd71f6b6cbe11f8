import type { Console } from "effect";

/**
 * What a terminal obeys instead of showing it, and what makes text look like other text: control characters (C0
 * without tab and newline, DEL, C1), line and paragraph separators, marks of direction, invisible tags, and halves of
 * surrogate pairs.
 */
const UNSAFE =
  // oxlint-disable-next-line no-control-regex
  /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\p{Cs}]/gu;

/** Colours and weights of text, which hide nothing by themselves. */
const STYLE =
  // oxlint-disable-next-line no-control-regex
  /\x1b\[(?:(?:0?[0-4]|22|23|24|3[0-79]|4[0-79]|9[0-7]|10[0-7]|[34]8;5;\d{1,3}|[34]8;2;\d{1,3};\d{1,3};\d{1,3})?(?:;|(?=m)))*m/g;

const hex = (unit: number, digits: number) => unit.toString(16).padStart(digits, "0");

/** One character in the notation that JavaScript, Python and JSON share, so that JSON, in which C0 can't be, stays JSON. */
const escape = (character: string): string => {
  if (character < " ") return `\\x${hex(character.charCodeAt(0), 2)}`;
  const first = `\\u${hex(character.charCodeAt(0), 4)}`;
  return character.length === 1 ? first : `${first}\\u${hex(character.charCodeAt(1), 4)}`;
};

/** Lines with everything escaped that a terminal would obey. Line ends of Windows become plain ones. */
export const visibleLines = (text: string): string =>
  text.replaceAll("\r\n", "\n").replaceAll("\r", "\\r").replaceAll(UNSAFE, escape);

/** The same for what has to stay on one line: an id, a name, a status. */
export const visibleWord = (text: string): string =>
  visibleLines(text).replaceAll("\n", "\\n").replaceAll("\t", "\\t");

/** Lines that keep their colours: for output of code that is the user's own. Each text ends without a style. */
export const visibleStyled = (text: string): string => {
  const styles = text.match(STYLE) ?? [];
  const parts = text.split(STYLE).map(visibleLines);
  const shown = parts.map((part, at) => part + (styles[at] ?? "")).join("");
  if (styles.length === 0) return shown;
  return shown.endsWith("\n") ? `${shown.slice(0, -1)}\x1b[0m\n` : `${shown}\x1b[0m`;
};

const visibleWords = (words: ReadonlyArray<unknown>): ReadonlyArray<unknown> =>
  words.map((word) => (typeof word === "string" ? visibleLines(word) : word));

/** A console on which nothing that is printed can take over the terminal. JSON that is printed stays JSON. */
export const visibleConsole = (console: Console.Console): Console.Console => ({
  ...console,
  log: (...words) => console.log(...visibleWords(words)),
  error: (...words) => console.error(...visibleWords(words)),
});
