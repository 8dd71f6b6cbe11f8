import { Option } from "effect";

import type { Outcome } from "../Check.ts";

/** `missing` below the user's limit, if there is one, and a warning below `low`. */
export const assessFree = (
  free: number,
  required: Option.Option<number>,
  low: number,
  format: (value: number) => string,
): Outcome => {
  if (Option.isSome(required) && free < required.value) {
    return {
      state: "missing",
      detail: `${format(free)} free, but ${format(required.value)} required. Use a larger machine or lower the limit.`,
    };
  }
  return free < low
    ? { state: "warning", detail: `Only ${format(free)} free: jobs may fail` }
    : { state: "ok", detail: `${format(free)} free` };
};
