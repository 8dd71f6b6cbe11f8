/** Texts that, when repeated, make regular expressions with excessive backtracking slow. */
export const ATTACKS = {
  letters: "a",
  dots: ".",
  "query words": "?key",
  "query names": "&token.",
  addresses: "a://",
  "at signs": "@",
  "users without a host": "://me:pw",
  "spaces and words": "only ",
  versions: "Version '",
  locks: "Could not get lock /x. It is held by process 1 (",
  NULs: "\0",
  "line ends": "\n",
  "short lines": "x\n",
} as const;
