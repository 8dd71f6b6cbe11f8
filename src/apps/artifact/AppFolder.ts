/* oxlint-disable no-await-in-loop -- entries are moved and removed one after the other */
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { lstat, mkdir, open, readdir, rename, rmdir, unlink } from "node:fs/promises";
import { join, relative } from "node:path";

import { Option } from "effect";

import { codeOf } from "../../platform/ErrorCode.ts";
import { DiskFault, diskFault } from "../../platform/files/DiskFault.ts";
import { inParent, isBelow } from "../../platform/files/safe/SafePaths.ts";
import { removeAll } from "../../platform/files/safe/SafeRemoval.ts";
import { type Marker, OWN_PREFIX, readMarker, writeMarker } from "./AppMarker.ts";
import { type Archive, unpackArchive, type UnpackLimits, type Unpacked } from "./Unpack.ts";
import { ArchiveBroken, ArchiveRefused, quoted } from "./tar/ArchiveError.ts";

/** Prefix of folders that archives are unpacked into, in the app folder: moving their content is a rename. */
const STAGING = `${OWN_PREFIX}unpacking-`;

/** Entries that the worker creates in the app folder itself. */
const isReserved = (path: string): boolean => {
  const [first = ""] = path.split("/");
  return first === ".venv" || first === ".venvs" || first.startsWith(OWN_PREFIX);
};

/** Python writes it next to modules. */
const BYTECODE = "__pycache__";

/** Files that are removed at the same time. */
const REMOVALS_AT_ONCE = 16;

const unless =
  (...codes: ReadonlyArray<string>) =>
  (error: unknown): undefined => {
    if (!codes.includes(codeOf(error))) throw error;
  };

/** Code of jobs may have replaced or removed any entry. */
const unlessChanged = unless(
  "ENOENT",
  "ENOTDIR",
  "ELOOP",
  "EISDIR",
  "EPERM",
  "ENOTEMPTY",
  "EEXIST",
);

const kindOf = async (path: string): Promise<"folder" | "other" | undefined> => {
  const info = await lstat(path).catch(unless("ENOENT"));
  if (info === undefined) return undefined;
  return info.isDirectory() ? "folder" : "other";
};

/** Creates an empty folder and unpacks the archive into it. */
const unpackBeside = async (
  app: string,
  staging: string,
  archive: Archive,
  limits: UnpackLimits,
  signal: AbortSignal,
): Promise<Unpacked> =>
  inParent([app], staging, async (at) => {
    // Nobody else can write to it, and its path stays valid if it is moved.
    await mkdir(at, 0o700);
    const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
    const handle = await open(at, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    try {
      const path = process.platform === "linux" ? `/proc/self/fd/${handle.fd}` : at;
      return await unpackArchive(archive, { path, shown: app }, limits, signal);
    } finally {
      await handle.close();
    }
  });

/** Removes what an earlier archive brought. Other files stay, and folders that contain any. */
const removeUnpacked = async (app: string, { files, folders }: Marker): Promise<void> => {
  const remove = async (path: string, act: (at: string) => Promise<void>) => {
    // Code of jobs can change the marker.
    if (isBelow([app], join(app, path))) {
      await inParent([app], join(app, path), act).catch(unlessChanged);
    }
  };
  for (let start = 0; start < files.length; start += REMOVALS_AT_ONCE) {
    const some = files.slice(start, start + REMOVALS_AT_ONCE);
    await Promise.all(some.map((file) => remove(file, unlink)));
  }
  // The app folder itself is last, and stays.
  for (const folder of [...folders.toReversed(), ""]) {
    await remove(join(folder, BYTECODE), () => removeAll([app], join(app, folder, BYTECODE)));
    await remove(folder, rmdir);
  }
};

/** Moves the content of a folder to another one, whose other content stays. */
const moveContent = async (app: string, from: string, to: string): Promise<void> => {
  const entries = await inParent([app], from, (at) => readdir(at, { withFileTypes: true }));
  for (const entry of entries) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (isReserved(relative(app, target))) continue;
    const existing = await inParent([app], target, kindOf);
    if (existing === "folder" && entry.isDirectory()) {
      await moveContent(app, source, target);
      continue;
    }
    if (existing === "folder") {
      throw new ArchiveRefused({
        reason: `contains the file ${quoted(entry.name)}, but ${target} is a folder that is not part of the app`,
        advice: "Rename the file, or remove the folder from the image.",
      });
    }
    await inParent([app], source, (oldPath) =>
      inParent([app], target, async (newPath) => {
        if (existing === "other" && entry.isDirectory()) await unlink(newPath);
        await rename(oldPath, newPath);
      }),
    );
  }
};

/** A failure to remove it is not a reason to fail, and must not hide one. The next start tries again. */
const untilNextStart = (): void => {};

const NOTHING: Marker = { archive: "", isComplete: true, files: [], folders: [] };

/** Removes what killed workers left. */
const removeStaging = async (app: string): Promise<void> => {
  for (const name of await readdir(app)) {
    if (name.startsWith(STAGING)) await removeAll([app], join(app, name)).catch(untilNextStart);
  }
};

/**
 * Unpacks an archive and moves its content to the app folder, where it replaces that of an earlier archive. Nothing
 * appears there before the archive is unpacked completely. If the worker is killed, the next one starts again.
 *
 * @returns entries of the archive that are left out, as the worker creates them itself
 */
const install = async (
  app: string,
  archive: Archive,
  limits: UnpackLimits,
  signal: AbortSignal,
): Promise<ReadonlyArray<string>> => {
  await removeStaging(app);
  const staging = join(app, `${STAGING}${randomUUID()}`);
  try {
    const { files, folders } = await unpackBeside(app, staging, archive, limits, signal);
    const unpacked = {
      archive: archive.identity,
      files: files.filter((file) => !isReserved(file)),
      folders: folders.filter((folder) => !isReserved(folder)),
    };
    const earlier = Option.getOrElse(await readMarker(app), () => NOTHING);
    signal.throwIfAborted();
    await writeMarker(app, {
      ...unpacked,
      isComplete: false,
      files: [...earlier.files, ...unpacked.files],
      folders: [...earlier.folders, ...unpacked.folders],
    });
    await removeUnpacked(app, earlier);
    await moveContent(app, staging, app);
    await writeMarker(app, { ...unpacked, isComplete: true });
    return [...files, ...folders].filter(isReserved);
  } finally {
    await removeAll([app], staging).catch(untilNextStart);
  }
};

/**
 * Makes the app folder contain the content of an archive; does nothing if it does already. Fails with ArchiveBroken,
 * ArchiveRefused or DiskFault.
 */
export const installArchive = async (
  app: string,
  archive: Archive,
  limits: UnpackLimits,
  signal: AbortSignal,
): Promise<{ readonly isNew: boolean; readonly leftOut: ReadonlyArray<string> }> => {
  try {
    const marker = await readMarker(app);
    if (Option.exists(marker, (one) => one.isComplete && one.archive === archive.identity)) {
      return { isNew: false, leftOut: [] };
    }
    return { isNew: true, leftOut: await install(app, archive, limits, signal) };
  } catch (error) {
    const isKnown = [ArchiveBroken, ArchiveRefused, DiskFault].some(
      (kind) => error instanceof kind,
    );
    throw isKnown || signal.aborted ? error : diskFault(app, "can't be written to")(error);
  }
};
