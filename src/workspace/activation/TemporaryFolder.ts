import { tmpdir } from "node:os";
import { join } from "node:path";

import { Effect, type FileSystem } from "effect";

import { diskFault } from "../../platform/files/DiskFault.ts";
import { isWritable } from "../../platform/files/Writability.ts";
import type { Place } from "../../venv/Place.ts";

/** Sets TMPDIR for jobs if the system's folder for temporary files is not writable, as in a read-only container. */
export const temporaryFolder = Effect.fnUntraced(
  function* (
    files: FileSystem.FileSystem,
    { directory }: Place,
  ): Effect.fn.Return<Readonly<Record<string, string>>, unknown> {
    if (yield* isWritable(files, tmpdir())) return {};
    const folder = join(directory, ".tmp");
    yield* files.makeDirectory(folder, { recursive: true });
    yield* Effect.logWarning(`${tmpdir()} can't be written to: jobs run with TMPDIR=${folder}`);
    return { TMPDIR: folder };
  },
  Effect.catch((error) =>
    Effect.as(Effect.logWarning(diskFault(tmpdir(), "can't be written to")(error).message), {}),
  ),
);
