import { execFile } from "node:child_process";

import { Effect } from "effect";

import { Workspace } from "../../src/workspace/Workspace.ts";
import { BUNDLE, bundled, ROOT, SETTINGS } from "./Bundle.ts";
import { compare, median, milliseconds, timed } from "./Pairs.ts";

/** Runs a request file. */
const run = ([program = "", ...args]: ReadonlyArray<string>, python: string) =>
  timed(
    Effect.callback<void, Error>((done) => {
      const environment = { ...process.env, ...SETTINGS, WORKER_PYTHON: python };
      execFile(
        program,
        [...args, "run", "fixtures/hello_world.json"],
        { cwd: ROOT, env: environment },
        (error) => done(error === null ? Effect.void : Effect.fail(error)),
      );
    }),
  );

/** `npm start -- run FILE` in a checkout without changes since its last start. */
export const startOfCheckout = Effect.gen(function* () {
  yield* bundled;
  const { basePython } = yield* (yield* Workspace).ready;
  const ours = run(["npm", "start", "-s", "--"], basePython);
  const bare = run(BUNDLE, basePython);
  yield* Effect.all([ours, bare]);
  const result = yield* compare(10, ours, bare);
  const ratio = median(result.ours) / median(result.baseline);
  return {
    what: `npm start -- run FILE in a checkout (${result.pairs} pairs)`,
    ours: milliseconds(result.ours),
    baseline: `the bundle ${milliseconds(result.baseline)}`,
    bar: `2x, it is ${ratio.toFixed(2)}x`,
    met: ratio <= 2,
  };
});
