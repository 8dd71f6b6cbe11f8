import { randomUUID } from "node:crypto";
import { basename, join } from "node:path";

import { Effect, type FileSystem, Option } from "effect";

import { replaceAtomically } from "../platform/files/AtomicFile.ts";
import { diskFault } from "../platform/files/DiskFault.ts";
import type { Place } from "./Place.ts";
import type { Venv } from "./Venv.ts";

/** Links `.venv` of a place to a venv. */
export const publish = Effect.fn("VenvBuilder.publish")(function* (
  files: FileSystem.FileSystem,
  { directory }: Place,
  { prefix }: Venv,
) {
  const link = join(directory, ".venv");
  const target = join(".venvs", basename(prefix));
  const current = yield* Effect.option(files.readLink(link));
  if (Option.contains(current, target)) return;
  yield* replaceAtomically(
    files,
    link,
    Effect.fnUntraced(function* (temporary) {
      yield* files.symlink(target, temporary);
      // A folder instead of a link was created by another worker program: keep it under another name.
      const isFolder = Option.isNone(current) && (yield* files.exists(link));
      if (isFolder) yield* files.rename(link, `${link}.replaced-${randomUUID()}`);
    }),
  ).pipe(Effect.mapError(diskFault(link, "can't be created as a link")));
});
