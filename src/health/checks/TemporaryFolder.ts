import { tmpdir } from "node:os";

import { Effect, FileSystem } from "effect";

import { diskFault } from "../../platform/files/DiskFault.ts";
import { inTime, type Outcome, required } from "../Check.ts";

const look = Effect.scoped(
  Effect.flatMap(FileSystem.FileSystem, (files) =>
    files.makeTempDirectoryScoped({ prefix: "worker-tetra-" }),
  ),
).pipe(
  Effect.match({
    onSuccess: (): Outcome => ({ state: "ok", detail: `${tmpdir()} can be written` }),
    onFailure: (error): Outcome => ({
      state: "missing",
      detail: `the temporary folder is not usable: ${diskFault(tmpdir(), "can't be written to")(error).message} Or set TMPDIR to a writable folder.`,
    }),
  }),
  inTime("disk", "missing"),
);

/** Every Python process has its pipes and sources in one: in the usual place, or in a fallback. */
export const temporaryFolder = required({
  subject: "Temp folder",
  refusal: "disk",
  look,
  showsOk: false,
});
