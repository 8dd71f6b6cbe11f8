import { Effect } from "effect";

import { Interpreters } from "../../venv/Interpreters.ts";
import { inTime, type Outcome, required, withQuickLook } from "../Check.ts";

const find = Effect.flatMap(Interpreters, ({ base }) => base);

/** `start` does not run the interpreter: it starts a Python process right after the checks. */
export const python = withQuickLook(
  required({
    subject: "Python",
    refusal: "python",
    look: Effect.gen(function* () {
      const { executable } = yield* find;
      const { version } = yield* (yield* Interpreters).facts(executable);
      return { state: "ok", detail: `${version} (${executable})` } satisfies Outcome;
    }).pipe(inTime("python", "missing")),
  }),
  find.pipe(
    Effect.map(({ executable }): Outcome => ({ state: "ok", detail: executable })),
    inTime("python", "missing"),
  ),
);
