import { join } from "node:path";

import { Effect, FileSystem } from "effect";

import { diskFault } from "../platform/files/DiskFault.ts";
import type { PythonNotFound } from "./Interpreters.ts";
import { type Place, venvsFolder } from "./Place.ts";
import type { Venv, VenvRecords } from "./Venv.ts";
import { formatVenvName, parseVenvName, type VenvName } from "./VenvNames.ts";
import type { VenvSource } from "./VenvSource.ts";

/** Venvs with different requirements are kept, so that jobs that alternate between them cause no rebuilds. */
const MAX_KEPT = 8;

/** The venv with this name. */
export const venvAt = (place: Place, name: VenvName, { base }: VenvSource): Venv => {
  const prefix = join(venvsFolder(place), formatVenvName(name));
  const { version, generation, number } = name;
  return { prefix, python: join(prefix, "bin", "python"), version, generation, number, base };
};

const newestFirst = (one: Venv, other: Venv): number =>
  other.generation - one.generation || other.number - one.number;

/** Finds the venvs of this worker's image without starting a process. */
export const venvFinder = Effect.fnUntraced(function* (
  source: Effect.Effect<VenvSource, PythonNotFound>,
  { isUsable, mayBeUsable }: VenvRecords,
) {
  const files = yield* FileSystem.FileSystem;

  /** All venvs with the fingerprint of this image, usable or not, newest first. */
  const list = Effect.fnUntraced(function* (place: Place) {
    const own = yield* source;
    const folder = venvsFolder(place);
    // A volume that fails for a moment must not look like one without venvs, since workers would build another one.
    const names = yield* files.readDirectory(folder).pipe(
      Effect.catchIf(
        ({ reason }) => reason._tag === "NotFound",
        () => Effect.succeed<ReadonlyArray<string>>([]),
      ),
      Effect.mapError(diskFault(folder, "can't be read")),
    );
    return names
      .flatMap((name) => parseVenvName(name) ?? [])
      .filter(({ fingerprint }) => fingerprint === own.fingerprint)
      .map((name) => venvAt(place, name, own))
      .toSorted(newestFirst);
  });

  return {
    list,
    find: Effect.fn("VenvBuilder.find")(function* (place: Place) {
      return yield* Effect.findFirst(yield* list(place), isUsable);
    }),
    all: Effect.fn("VenvBuilder.all")(function* (place: Place) {
      return yield* Effect.filter(yield* list(place), isUsable);
    }),
    surplus: Effect.fnUntraced(
      function* (place: Place) {
        const venvs = yield* list(place);
        const usable = yield* Effect.filter(venvs, mayBeUsable);
        const kept = new Set(usable.slice(0, MAX_KEPT));
        return venvs.filter((venv) => !kept.has(venv));
      },
      Effect.orElseSucceed((): ReadonlyArray<Venv> => []),
    ),
  };
});
