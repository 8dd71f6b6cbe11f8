import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";

import { Option, Schema } from "effect";

import { codeOf } from "../../platform/ErrorCode.ts";
import { inParent, openFile } from "../../platform/files/safe/SafePaths.ts";

/** A file in the app folder that tells what was unpacked there. */
const Marker = Schema.Struct({
  /** The identity of the archive. */
  archive: Schema.String,
  /** False while files are moved to the app folder: then some of them may be missing. */
  isComplete: Schema.Boolean,
  /** Files and links, relative to the app folder. */
  files: Schema.Array(Schema.String),
  /** Folders, parents first. */
  folders: Schema.Array(Schema.String),
});
export type Marker = typeof Marker.Type;

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Marker));

/** Names that begin with this belong to the worker. */
export const OWN_PREFIX = ".worker-tetra-";

const NAME = `${OWN_PREFIX}app.json`;

/** In bytes. Code of jobs can write to the file. */
const MAX_SIZE = 256 * 1024 * 1024;

/** Reads the marker of an app folder; none if it is missing or invalid. */
export const readMarker = async (folder: string): Promise<Option.Option<Marker>> => {
  try {
    const handle = await openFile([folder], join(folder, NAME), constants.O_RDONLY);
    try {
      if ((await handle.stat()).size > MAX_SIZE) return Option.none();
      return decode(await handle.readFile("utf8"));
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (["ENOENT", "ELOOP", "EINVAL"].includes(codeOf(error))) return Option.none();
    throw error;
  }
};

/** Replaces the marker atomically. */
export const writeMarker = async (folder: string, marker: Marker): Promise<void> => {
  const temporary = join(folder, `${NAME}-${randomUUID()}`);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  const handle = await openFile([folder], temporary, flags, 0o644);
  try {
    await handle.writeFile(JSON.stringify(marker));
  } finally {
    await handle.close();
  }
  await inParent([folder], temporary, (from) =>
    inParent([folder], join(folder, NAME), (to) => rename(from, to)),
  );
};
