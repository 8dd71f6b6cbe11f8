import { Effect, Layer } from "effect";

import {
  ProgramFailed,
  type ProgramOptions,
  Programs,
} from "../../../src/platform/programs/Programs.ts";

/** The result of a fake program: its stdout, or an exit code and the output of a failure. */
export type Outcome = string | { readonly exitCode: number; readonly output: string };

/** Programs whose result is a function of the command line. Command lines and options of all runs are recorded. */
export const fakePrograms = (outcomeOf: (line: string) => Outcome | undefined) => {
  const lines: Array<string> = [];
  const options: Array<ProgramOptions> = [];
  const layer = Layer.succeed(
    Programs,
    Programs.of({
      run: (command, args, given = {}) =>
        Effect.suspend(() => {
          const line = [command, ...args].join(" ");
          lines.push(line);
          options.push(given);
          const outcome = outcomeOf(line);
          if (typeof outcome === "string") return Effect.succeed(outcome);
          const failure = outcome ?? { output: `spawn ${command} ENOENT` };
          return Effect.fail(new ProgramFailed({ command, args, ...failure }));
        }),
    }),
  );
  return { lines, options, layer };
};
