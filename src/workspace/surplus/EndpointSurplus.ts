import { basename, join } from "node:path";

import { Effect, type FileSystem, Option } from "effect";

import { lockOf, REMOVING } from "../../platform/files/Removal.ts";
import { BUILDING, parseVenvName } from "../../venv/VenvNames.ts";
import { generationIn, lockFile } from "../../venv/leases/Generation.ts";
import { LAST_START } from "../LastStart.ts";
import { idleDays } from "./IdleTime.ts";

/** Unfinished builds and removals of this age are not running any more. */
const ABANDONED_AFTER_DAYS = 1;

/** A folder that can be removed, before its size is known. */
interface Candidate {
  readonly path: string;
  readonly reason: string;
  /** Locks that workers hold while they use it. */
  readonly locks: ReadonlyArray<string>;
}

/** Whether a path is a folder, and not a link to one. */
export const isFolder = (files: FileSystem.FileSystem, path: string) =>
  Effect.orElseSucceed(
    Effect.map(files.lstat(path), ({ type }) => type === "Directory"),
    () => false,
  );

/** The names in a folder; empty for a link, whose target is neither read nor removed. */
export const namesIn = Effect.fnUntraced(function* (files: FileSystem.FileSystem, folder: string) {
  if (!(yield* isFolder(files, folder))) return [];
  return yield* Effect.orElseSucceed(files.readDirectory(folder), (): ReadonlyArray<string> => []);
});

const isUnfinished = (name: string) => name.startsWith(BUILDING) || name.startsWith(REMOVING);

/** A venv or an unfinished one, if it can be removed. */
const venvCandidate = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  path: string,
  workspaceLock: string,
  current: Option.Option<string>,
  days: number,
): Effect.fn.Return<ReadonlyArray<Candidate>> {
  const name = basename(path);
  const age = Option.getOrElse(yield* idleDays(files, [path, lockOf(path)]), () => 0);
  if (isUnfinished(name)) {
    return age > ABANDONED_AFTER_DAYS
      ? [{ path, reason: "is an unfinished build or removal", locks: [workspaceLock] }]
      : [];
  }
  const isVenv = parseVenvName(name) !== undefined;
  // Without the link `.venv`, the active venv is unknown.
  const isOther = Option.exists(current, (target) => basename(target) !== name);
  if (!isVenv || !isOther || age <= days) return [];
  const reason = `is not the active virtual environment and unused for ${Math.floor(age)} days`;
  return [{ path, reason, locks: [lockOf(path)] }];
});

/** What can be removed of one endpoint's folder: the whole folder, or single venvs. */
const inEndpoint = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  root: string,
  days: number,
): Effect.fn.Return<ReadonlyArray<Candidate>> {
  const parent = join(root, ".venvs");
  const names = yield* namesIn(files, parent);
  const lock = lockFile({ directory: root }, "initialization", generationIn(names));
  const unused = yield* idleDays(files, [join(root, LAST_START), lock, parent]);
  if (Option.isSome(unused) && unused.value > days) {
    const venvs = names.filter((name) => parseVenvName(name) !== undefined);
    const locks = [lock, ...venvs.map((name) => lockOf(join(parent, name)))];
    const reason = `no worker used it for ${Math.floor(unused.value)} days; includes files that its jobs wrote`;
    return [{ path: root, reason, locks }];
  }
  const current = yield* Effect.option(files.readLink(join(root, ".venv")));
  const found = yield* Effect.forEach(names, (name) =>
    venvCandidate(files, join(parent, name), lock, current, days),
  );
  return found.flat();
});

/** What can be removed of all endpoints' folders, and messages about skipped entries. */
export const endpointSurplus = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  root: string,
  days: number,
) {
  const found: Array<Candidate> = [];
  const skipped: Array<string> = [];
  for (const name of yield* namesIn(files, root)) {
    const path = join(root, name);
    if (!(yield* isFolder(files, path))) {
      skipped.push(`${path} is not a folder (links are not followed)`);
    } else if (name.startsWith(REMOVING)) {
      found.push({ path, reason: "is an unfinished removal", locks: [] });
    } else {
      found.push(...(yield* inEndpoint(files, path, days)));
    }
  }
  return { found, skipped };
});
