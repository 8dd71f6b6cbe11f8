import { Predicate } from "effect";

/** Linux error numbers that Node has no name for. */
const UNNAMED: Readonly<Record<string, string>> = {
  "-116": "ESTALE",
  "-117": "EUCLEAN",
  "-122": "EDQUOT",
};

/** The system's code of an error, such as ENOSPC, from errors of Node or Effect. */
export const codeOf = (error: unknown, otherwise = "UNKNOWN"): string => {
  const reason = Predicate.hasProperty(error, "reason") ? error.reason : error;
  const system = (Predicate.hasProperty(reason, "cause") ? reason.cause : undefined) ?? reason;
  const unnamed = Predicate.hasProperty(system, "errno")
    ? UNNAMED[String(system.errno)]
    : undefined;
  if (unnamed !== undefined) return unnamed;
  return Predicate.hasProperty(system, "code") && Predicate.isString(system.code)
    ? system.code
    : otherwise;
};
