import { Effect, Layer } from "effect";

import { ProgramFailed, type ProgramOptions, Programs } from "../../../src/platform/Programs.ts";

/** What a fake program does: what it writes to stdout, or an exit code with its words. */
export type Outcome = string | { readonly exitCode: number; readonly output: string };

/** Programs that answer by a function of their command line; every line that was run is kept, and its options. */
export const fakePrograms = (answer: (line: string) => Outcome | undefined) => {
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
          const outcome = answer(line);
          if (typeof outcome === "string") return Effect.succeed(outcome);
          const failure = outcome ?? { output: `spawn ${command} ENOENT` };
          return Effect.fail(new ProgramFailed({ command, args, ...failure }));
        }),
    }),
  );
  return { lines, options, layer };
};
