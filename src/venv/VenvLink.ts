import { randomUUID } from "node:crypto";
import { basename, join } from "node:path";

import { Effect, type FileSystem, Option } from "effect";

import { diskFault } from "../platform/files/DiskFault.ts";
import { type Place, venvsFolder } from "./Place.ts";
import type { Venv } from "./Venv.ts";
import { LINKING } from "./VenvNames.ts";
import { generationIn, generationTag, taggedGeneration } from "./leases/Generation.ts";

const isOlderLink = (name: string, generation: number): boolean =>
  name.startsWith(LINKING) && taggedGeneration(name.slice(LINKING.length)) < generation;

/**
 * Replaces the link by a new one with a temporary name, unless the generation of the venv is over. `.venv` never goes
 * back to a lower generation, wherever a worker stops: its temporary link was created before it read the generation, so
 * a worker of a later generation finds that link and removes it before it replaces `.venv` itself.
 */
const replaceLink = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  place: Place,
  { generation }: Venv,
  temporary: string,
) {
  const names = yield* files.readDirectory(venvsFolder(place));
  if (generationIn(names) !== generation) {
    yield* Effect.logDebug(`${place.directory}/.venv is left to workers of the next generation`);
    return yield* files.remove(temporary);
  }
  const older = names.filter((name) => isOlderLink(name, generation));
  yield* Effect.forEach(
    older,
    (name) => files.remove(join(venvsFolder(place), name), { force: true }),
    { discard: true },
  );
  const link = join(place.directory, ".venv");
  const info = yield* Effect.option(files.lstat(link));
  // A folder instead of a link was created by another worker program: keep it under another name.
  if (Option.exists(info, ({ type }) => type === "Directory")) {
    yield* files.rename(link, `${link}.replaced-${randomUUID()}`);
  }
  yield* files.rename(temporary, link);
});

/** Links `.venv` of a place to a venv, unless the place has a later generation. */
export const publish = Effect.fn("VenvBuilder.publish")(function* (
  files: FileSystem.FileSystem,
  place: Place,
  venv: Venv,
) {
  const link = join(place.directory, ".venv");
  const target = join(".venvs", basename(venv.prefix));
  const current = yield* Effect.option(files.readLink(link));
  if (Option.contains(current, target)) return;
  const tag = generationTag(venv.generation);
  const temporary = join(venvsFolder(place), `${LINKING}${tag}${randomUUID()}`);
  yield* files.symlink(target, temporary).pipe(
    Effect.andThen(replaceLink(files, place, venv, temporary)),
    Effect.onError(() => Effect.ignore(files.remove(temporary))),
    Effect.mapError(diskFault(link, "can't be created as a link")),
  );
});
