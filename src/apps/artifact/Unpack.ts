import { type BigIntStats, constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";

import { codeOf } from "../../platform/ErrorCode.ts";
import { diskFault } from "../../platform/files/DiskFault.ts";
import { assertFile } from "../../platform/files/safe/SafePaths.ts";
import { ArchiveBroken, ArchiveRefused } from "./tar/ArchiveError.ts";
import { feedTar } from "./tar/TarReader.ts";
import { UnpackTarget } from "./tar/UnpackTarget.ts";

/** In bytes: data that is read and decompressed at a time. */
const PART = 1024 * 1024;

/** Data is decompressed, in another thread, while earlier data is written. */
const BUFFERS = { chunkSize: PART, readableHighWaterMark: 2 * PART } as const;

/** In bytes: the checksum and the size of the content, at the end of a gzip file. */
const GZIP_TRAILER = 8;

export interface UnpackLimits {
  readonly maxBytes: number;
  readonly maxMembers: number;
}

/** An opened archive. */
export interface Archive {
  readonly path: string;
  readonly handle: FileHandle;
  /** Distinguishes archives: changes when the file is changed or replaced. */
  readonly identity: string;
}

const identityOf = ({ size, mtimeNs }: BigIntStats, trailer: Buffer): string =>
  `${size}-${mtimeNs}-${trailer.toString("hex")}`;

/** The identity of an open file. */
const identify = async (handle: FileHandle): Promise<string> => {
  const info = await handle.stat({ bigint: true });
  const at = Math.max(0, Number(info.size) - GZIP_TRAILER);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(GZIP_TRAILER), 0, GZIP_TRAILER, at);
  return identityOf(info, buffer.subarray(0, bytesRead));
};

/** Opens an archive. Fails for anything but a regular file. The caller closes it. */
export const openArchive = async (path: string): Promise<Archive> => {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    await assertFile(handle, path);
    return { path, handle, identity: await identify(handle) };
  } catch (error) {
    await handle.close();
    throw error;
  }
};

const ZLIB_PROBLEMS: Readonly<Record<string, string>> = {
  Z_BUF_ERROR: "is incomplete: its compressed data ends too early",
  Z_DATA_ERROR: "is damaged, or not a gzip file",
};

/** Errors of decompression mean that the archive is broken. All others that are not known are of reading it. */
const readFailure = (path: string, error: unknown): unknown => {
  const problem = ZLIB_PROBLEMS[codeOf(error)];
  if (problem !== undefined) return new ArchiveBroken({ reason: problem });
  const isKnown = [ArchiveBroken, ArchiveRefused].some((kind) => error instanceof kind);
  return isKnown ? error : diskFault(path, "can't be read")(error);
};

export interface Unpacked {
  /** Paths of files and links, relative to the folder. */
  readonly files: ReadonlyArray<string>;
  /** Paths of folders, parents first. */
  readonly folders: ReadonlyArray<string>;
}

/**
 * Unpacks an archive (tar.gz) into an empty folder that belongs to this process alone. Fails with ArchiveBroken,
 * ArchiveRefused, DiskFault (of the folder), or an error of reading the archive; then the folder has a part of it.
 *
 * @param shown the name of the folder in errors
 */
export const unpackArchive = async (
  { path, handle, identity }: Archive,
  folder: { readonly path: string; readonly shown: string },
  limits: UnpackLimits,
  signal: AbortSignal,
): Promise<Unpacked> => {
  const target = new UnpackTarget(folder.path, folder.shown, limits.maxMembers);
  const tar = feedTar(target, limits.maxBytes);
  const gunzip = createGunzip(BUFFERS);
  const write = async (parts: AsyncIterable<Buffer>) => {
    for await (const part of parts) tar.write(part);
  };
  try {
    const source = handle.createReadStream({ start: 0, autoClose: false, highWaterMark: PART });
    await pipeline(source, gunzip, write, { signal });
    const { size } = await handle.stat();
    if (gunzip.bytesWritten !== size) {
      throw new ArchiveBroken({ reason: "has data after the end of its compressed part" });
    }
    tar.end();
    target.tree.assertLinksStayInside();
    if ((await identify(handle)) !== identity) {
      throw new ArchiveBroken({ reason: "was changed while it was unpacked" });
    }
    return target.tree.list();
  } catch (error) {
    throw signal.aborted ? error : readFailure(path, error);
  } finally {
    tar.stop();
  }
};
