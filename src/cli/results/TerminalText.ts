import type { Console } from "effect";

/**
 * Characters that control a terminal or disguise text: control characters (C0 without tab and newline, DEL, C1), line
 * and paragraph separators, direction marks, invisible tags, and unpaired surrogates.
 */
const UNSAFE =
  // oxlint-disable-next-line no-control-regex
  /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\p{Cs}]/gu;

/** Escape sequences for colour and weight, which can't hide text by themselves. */
const STYLE =
  // oxlint-disable-next-line no-control-regex
  /\x1b\[(?:(?:0?[0-4]|22|23|24|3[0-79]|4[0-79]|9[0-7]|10[0-7]|[34]8;5;\d{1,3}|[34]8;2;\d{1,3};\d{1,3};\d{1,3})?(?:;|(?=m)))*m/g;

const hex = (unit: number, digits: number) => unit.toString(16).padStart(digits, "0");

/** Escapes a character as in JavaScript and Python. JSON stays valid: \x is only used for C0 characters, which JSON never contains. */
const escape = (character: string): string => {
  if (character <= "\x1f") return `\\x${hex(character.charCodeAt(0), 2)}`;
  const first = `\\u${hex(character.charCodeAt(0), 4)}`;
  return character.length === 1 ? first : `${first}\\u${hex(character.charCodeAt(1), 4)}`;
};

/** Escapes characters that control a terminal; keeps newlines and tabs. CRLF becomes LF. */
export const visibleLines = (text: string): string =>
  text.replaceAll("\r\n", "\n").replaceAll("\r", "\\r").replaceAll(UNSAFE, escape);

/** The same for text on one line, such as an id, a name or a status: also escapes newlines and tabs. */
export const visibleLine = (text: string): string =>
  visibleLines(text).replaceAll("\n", "\\n").replaceAll("\t", "\\t");

/** Like visibleLines, but keeps colours, for the output of user code. Resets the style at the end. */
export const visibleStyled = (text: string): string => {
  const styles = text.match(STYLE) ?? [];
  const parts = text.split(STYLE).map(visibleLines);
  const shown = parts.map((part, at) => part + (styles[at] ?? "")).join("");
  if (styles.length === 0) return shown;
  return shown.endsWith("\n") ? `${shown.slice(0, -1)}\x1b[0m\n` : `${shown}\x1b[0m`;
};

const visibleArgs = (args: ReadonlyArray<unknown>): ReadonlyArray<unknown> =>
  args.map((arg) => (typeof arg === "string" ? visibleLines(arg) : arg));

/** A console that escapes characters that control a terminal. Printed JSON stays valid JSON. */
export const visibleConsole = (console: Console.Console): Console.Console => ({
  ...console,
  log: (...args) => console.log(...visibleArgs(args)),
  error: (...args) => console.error(...visibleArgs(args)),
});
