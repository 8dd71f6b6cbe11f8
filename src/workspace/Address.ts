/** Credentials before the host; `git@` is no secret, and says how to connect. */
const USER = /([a-z][a-z0-9+.-]*:\/\/)(?!git@)[^\s/@'"`]+@/gi;

/** Parameters of signed addresses and tokens. */
const PARAMETER =
  /([?&][\w.-]*(?:token|key|secret|password|sig|signature|credential)[\w.-]*=)[^\s&#'"`]+/gi;

/** Addresses as people may see them: without user names, passwords and tokens. */
export const withoutCredentials = (text: string): string =>
  text.replaceAll(USER, "$1***@").replaceAll(PARAMETER, "$1***");
