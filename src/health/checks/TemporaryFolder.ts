import { tmpdir } from "node:os";

import { Effect, FileSystem } from "effect";

import { diskFault } from "../../platform/files/DiskFault.ts";
import { withTimeout, type Outcome, required } from "../Check.ts";

const probe = Effect.scoped(
  Effect.flatMap(FileSystem.FileSystem, (files) =>
    files.makeTempDirectoryScoped({ prefix: "worker-tetra-" }),
  ),
).pipe(
  Effect.match({
    onSuccess: (): Outcome => ({ state: "ok", detail: `${tmpdir()} is writable` }),
    onFailure: (error): Outcome => ({
      state: "missing",
      detail: `the temporary folder can't be used: ${diskFault(tmpdir(), "can't be written")(error).message} Or set TMPDIR to a writable folder.`,
    }),
  }),
  withTimeout("disk", "missing"),
);

/** Every Python process keeps its pipes and sources in a temporary folder. */
export const temporaryFolder = required({
  subject: "Temp folder",
  reportedAs: "disk",
  probe,
  showsOk: false,
});
