/**
 * Everything between `://` and the last `@` before the path. Takes linear time: slashes are excluded, so no two attempts
 * scan the same characters.
 */
const USER_INFO = /:\/\/([^\s/'"`]+)@/g;

const PARAMETER_NAME = /[?&]([\w.-]+)=/g;
const PARAMETER_VALUE = /[^\s&#'"`]+/y;

/** Query parameters with tokens or signatures. */
const SECRET_PARAMETER = /token|key|secret|password|sig|signature|credential/i;

/** `git@` is not a secret. */
const PUBLIC_USER = "git";

export interface Parameter {
  readonly name: string;
  /** Where the value starts in the text. */
  readonly start: number;
  readonly end: number;
}

/** Users and passwords of all URLs in a text, not decoded. */
export const userInfosOf = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(USER_INFO)].map(([, info = ""]) => info).filter((info) => info !== PUBLIC_USER);

/** Query parameters of URLs in a text whose names indicate a secret. */
export const secretParametersOf = (text: string): ReadonlyArray<Parameter> => {
  const found: Array<Parameter> = [];
  let end = 0;
  for (const match of text.matchAll(PARAMETER_NAME)) {
    const [whole, name = ""] = match;
    const start = match.index + whole.length;
    // Part of the previous value.
    if (match.index < end || !SECRET_PARAMETER.test(name)) continue;
    PARAMETER_VALUE.lastIndex = start;
    const value = PARAMETER_VALUE.exec(text);
    if (value === null) continue;
    end = start + value[0].length;
    found.push({ name, start, end });
  }
  return found;
};

/** Replaces users, passwords and tokens of URLs in a text by `***`. Takes linear time. */
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
