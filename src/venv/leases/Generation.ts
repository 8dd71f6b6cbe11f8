import { join } from "node:path";

import { Effect, type FileSystem, type PlatformError } from "effect";

import { diskFault } from "../../platform/files/DiskFault.ts";
import { LockUnavailable } from "../../platform/locks/FileLock.ts";
import { type Place, venvsFolder } from "../Place.ts";

/**
 * The generation of a place is a fencing token. A worker that stops while it holds a lock keeps it: after the death of
 * its host a network volume releases the lock only a day later. A worker may also lose a lock without noticing. Other
 * workers then start the next generation, which has separate locks. A worker that resumes writes only to paths of its
 * own generation: their names contain it.
 *
 * The generation is the highest number of an install lock. These files are never removed, so it never decreases.
 */

/** The lock for building virtual environments, or the one for adding packages. */
export type LockName = "initialization" | "install";

export type Workspace = Pick<Place, "directory">;

/** The file of a lock. */
export const lockFile = (place: Workspace, name: LockName, generation: number): string => {
  const folder = name === "install" ? venvsFolder(place) : place.directory;
  const file = join(folder, `.${name}.lock`);
  return generation === 0 ? file : `${file}.${generation}`;
};

/** Whether workers that do not know generations use a lock too. */
export const isSharedWithOthers = (name: LockName, generation: number): boolean =>
  name === "initialization" && generation === 0;

/** The beginning of a name's part that says to which generation it belongs; empty for generation 0. */
export const generationTag = (generation: number): string =>
  generation === 0 ? "" : `${generation}.`;

/** The generation of a name's part that begins with a tag. */
export const taggedGeneration = (part: string): number =>
  Number(/^(\d{1,9})\./.exec(part)?.[1] ?? 0);

const INSTALL_LOCK = /^\.install\.lock\.(\d{1,9})$/;

/** The generation of a place, by the names in its folder of virtual environments. */
export const generationIn = (names: ReadonlyArray<string>): number =>
  Math.max(0, ...names.map((name) => Number(INSTALL_LOCK.exec(name)?.[1] ?? 0)));

const unavailable = (place: Workspace, problem: string) => (error: PlatformError.PlatformError) => {
  const path = venvsFolder(place);
  return new LockUnavailable({ path, reason: diskFault(path, problem)(error).message });
};

/** The generation of a place. Only a missing folder means 0: an unreadable one may have any. */
export const currentGeneration = (files: FileSystem.FileSystem, place: Workspace) =>
  files.readDirectory(venvsFolder(place)).pipe(
    Effect.catchIf(
      ({ reason }) => reason._tag === "NotFound",
      (): Effect.Effect<ReadonlyArray<string>> => Effect.succeed([]),
    ),
    Effect.map(generationIn),
    Effect.mapError(unavailable(place, "can't be read")),
  );

/** Starts a generation; false if another worker has done it. */
export const startGeneration = (
  files: FileSystem.FileSystem,
  place: Workspace,
  generation: number,
) =>
  files.makeDirectory(venvsFolder(place), { recursive: true }).pipe(
    Effect.andThen(
      files.writeFileString(lockFile(place, "install", generation), "", { flag: "wx" }),
    ),
    Effect.as(true),
    Effect.catchIf(
      ({ reason }) => reason._tag === "AlreadyExists",
      () => Effect.succeed(false),
    ),
    Effect.mapError(unavailable(place, "can't be written to")),
  );
