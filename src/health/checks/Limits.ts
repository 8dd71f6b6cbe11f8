import { Option } from "effect";

import type { Outcome } from "../Check.ts";

/** Judges a free amount: below a limit that the user has set it is missing, below our own there is a warning. */
export const enough = (
  free: number,
  required: Option.Option<number>,
  low: number,
  shown: (value: number) => string,
): Outcome => {
  if (Option.isSome(required) && free < required.value) {
    return {
      state: "missing",
      detail: `${shown(free)} free, and ${shown(required.value)} are required. Choose a bigger machine or lower the limit.`,
    };
  }
  return free < low
    ? { state: "warning", detail: `Only ${shown(free)} free: jobs may fail` }
    : { state: "ok", detail: `${shown(free)} free` };
};
