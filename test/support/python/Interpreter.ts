import { join } from "node:path";

import { Effect } from "effect";

import { Uv } from "../../../src/venv/Uv.ts";
import { temporaryFolder } from "../files/TemporaryFolder.ts";

/** An interpreter with one package and its dependencies, for as long as the scope is open. */
export const interpreterWith = Effect.fnUntraced(function* (requirement: string) {
  const uv = yield* Uv;
  const directory = yield* temporaryFolder;
  const options = { directory, into: directory, environment: {} };
  const python = join(directory, "bin", "python");
  yield* uv.run(["venv", "--allow-existing", directory], options);
  yield* uv.run(["pip", "install", "--python", python, requirement], options);
  return python;
});
