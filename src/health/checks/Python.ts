import { Effect } from "effect";

import { Interpreters } from "../../venv/Interpreters.ts";
import { withTimeout, type Outcome, required, withQuickProbe } from "../Check.ts";

const find = Effect.flatMap(Interpreters, ({ base }) => base);

/** `start` does not run the interpreter here, since it starts a Python process right after the checks. */
export const python = withQuickProbe(
  required({
    subject: "Python",
    reportedAs: "python",
    probe: Effect.gen(function* () {
      const { executable } = yield* find;
      const { version } = yield* (yield* Interpreters).facts(executable);
      return { state: "ok", detail: `${version} (${executable})` } satisfies Outcome;
    }).pipe(withTimeout("python", "missing")),
  }),
  find.pipe(
    Effect.map(({ executable }): Outcome => ({ state: "ok", detail: executable })),
    withTimeout("python", "missing"),
  ),
);
