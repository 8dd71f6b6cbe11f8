import { Effect } from "effect";

import { Programs } from "../../platform/Programs.ts";
import { Uv } from "../../venv/Uv.ts";
import { check, inTime, type Outcome } from "../Check.ts";

export const uv = check(
  "uv",
  Effect.gen(function* () {
    // Installing uv may take longer than a check.
    const command = yield* (yield* Uv).command;
    const asked = (yield* Programs).run(command, ["--version"]);
    return yield* asked.pipe(
      Effect.map((version): Outcome => ({
        state: "ok",
        detail: `${version.trim().replace(/^uv /, "")} (${command})`,
      })),
      inTime("uv", "missing"),
    );
  }),
);
