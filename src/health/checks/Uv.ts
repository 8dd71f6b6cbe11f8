import { Effect } from "effect";

import { Programs } from "../../platform/programs/Programs.ts";
import { Uv } from "../../venv/Uv.ts";
import { check, withTimeout, type Outcome } from "../Check.ts";

export const uv = check(
  "uv",
  Effect.gen(function* () {
    // Outside the timeout, since this may install uv.
    const command = yield* (yield* Uv).command;
    const printVersion = (yield* Programs).run(command, ["--version"]);
    return yield* printVersion.pipe(
      Effect.map((version): Outcome => ({
        state: "ok",
        detail: `${version.trim().replace(/^uv /, "")} (${command})`,
      })),
      withTimeout("uv", "missing"),
    );
  }),
);
