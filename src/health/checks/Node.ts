import { Effect } from "effect";

import { check } from "../Check.ts";

export const node = check(
  "Node",
  Effect.succeed({
    state: "ok",
    detail: `${process.versions.node} (${process.execPath})`,
  } as const),
);
