/**
 * Everything between `://` and the last `@` before the path. The class excludes slashes, so no two attempts
 * scan the same characters, and the time is linear.
 */
const USER_INFO = /:\/\/([^\s/'"`]+)@/g;

const PARAMETER_NAME = /[?&]([\w.-]+)=/g;
const PARAMETER_VALUE = /[^\s&#'"`]+/y;

/** Parameters of signed addresses and tokens. */
const SECRET_PARAMETER = /token|key|secret|password|sig|signature|credential/i;

/** `git@` is not a secret, and shows how to connect. */
const PUBLIC_USER = "git";

export interface Parameter {
  readonly name: string;
  /** Where its value starts in the text. */
  readonly start: number;
  readonly end: number;
}

/** Users and passwords of all addresses in a text, as they are written there. */
export const userInfosOf = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(USER_INFO)].map(([, info = ""]) => info).filter((info) => info !== PUBLIC_USER);

/** Parameters of addresses in a text that hold a secret by their name. */
export const secretParametersOf = (text: string): ReadonlyArray<Parameter> => {
  const found: Array<Parameter> = [];
  let end = 0;
  for (const match of text.matchAll(PARAMETER_NAME)) {
    const [whole, name = ""] = match;
    const start = match.index + whole.length;
    // This one is part of a value that was found before.
    if (match.index < end || !SECRET_PARAMETER.test(name)) continue;
    PARAMETER_VALUE.lastIndex = start;
    const value = PARAMETER_VALUE.exec(text);
    if (value === null) continue;
    end = start + value[0].length;
    found.push({ name, start, end });
  }
  return found;
};

/** Any text with users, passwords and tokens of the addresses in it replaced by `***`; takes linear time. */
export const withoutCredentials = (text: string): string => {
  const shown = text.replaceAll(USER_INFO, (whole: string, info: string) =>
    info === PUBLIC_USER ? whole : "://***@",
  );
  let result = "";
  let position = 0;
  for (const { start, end } of secretParametersOf(shown)) {
    result += `${shown.slice(position, start)}***`;
    position = end;
  }
  return result + shown.slice(position);
};
