import { Effect } from "effect";

import { fakePackages } from "./FakePackages.ts";

/** Lets the work in the background run until it waits. */
export const backgroundRuns = Effect.repeat(Effect.yieldNow, { times: 1000 });

/** A machine whose volume has a packed venv with six, and the venv's folder. */
export const packedMachine = Effect.fnUntraced(function* (
  options: Parameters<typeof fakePackages>[0] = {},
) {
  const machine = fakePackages({ hasCopies: true, ...options });
  const prefix = yield* Effect.gen(function* () {
    const { satisfy } = yield* machine.start();
    const prepared = yield* satisfy(["six==1"]);
    yield* backgroundRuns;
    return prepared.prefix;
  }).pipe(Effect.scoped);
  return {
    ...machine,
    prefix,
    /** Whether a venv has a package. */
    has: (venv: string, name: string) =>
      machine.memory.paths(new RegExp(`^${venv}/.*/${name}-[^/]*$`)).length > 0,
    venvs: () => machine.memory.paths(/^\/runpod-volume\/.*\/\.venvs\/[^./][^/]*\d$/),
  };
});
