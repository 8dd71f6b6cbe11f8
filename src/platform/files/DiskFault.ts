import { Predicate, Schema } from "effect";

import { codeOf } from "../ErrorCode.ts";

const FULL = "Free some space, or use a larger disk";
const DESCRIPTORS = "Raise the limit of open files (ulimit -n), or run fewer jobs at the same time";
const HEALTH = "Check the health of the machine or the volume";
const REMOUNT = "Mount the volume again";
const PERMISSION = "Allow the worker's user to write there";

/** For each error code: the reason in words, and what to do about it. */
const ADVICE: Readonly<Record<string, readonly [reason: string, advice: string]>> = {
  ENOSPC: ["there is no space left", FULL],
  EDQUOT: ["the volume's quota is exceeded", "Delete files, or enlarge the volume"],
  EROFS: ["it is mounted read-only", "Mount it writable"],
  EACCES: ["access is denied", PERMISSION],
  EPERM: ["access is denied", PERMISSION],
  EIO: ["the disk failed", HEALTH],
  ENXIO: ["the disk failed", HEALTH],
  ENODEV: ["the disk failed", HEALTH],
  EUCLEAN: ["the disk failed", HEALTH],
  ETIMEDOUT: ["the network file system does not respond", HEALTH],
  ESTALE: ["the network file system has a stale file handle", REMOUNT],
  ENOTCONN: ["the network file system is not connected", REMOUNT],
  EHOSTDOWN: ["the network file system is not connected", REMOUNT],
  ELOOP: [
    "the path contains a symbolic link, and links are not followed there",
    "Replace the link by a real file or folder",
  ],
  ENOTDIR: ["a part of the path is not a folder", "Move that file away"],
  EMLINK: [
    "the file has another hard link, so it may belong to another user or endpoint",
    "Delete it; the worker creates it again",
  ],
  ENAMETOOLONG: ["its path is too long", "Choose a folder with a shorter path"],
  EMFILE: ["the worker has too many open files", DESCRIPTORS],
  ENFILE: ["the machine has too many open files", DESCRIPTORS],
  EFBIG: ["the file is larger than this disk allows", "Choose another disk, or raise its limit"],
  EXDEV: ["another file system is mounted in it", "Unmount it first"],
  EBUSY: [
    "it is in use, or something is mounted there",
    "Unmount it, or stop the process that uses it",
  ],
  ENOENT: ["it does not exist", "Create the folder, or correct the path"],
};

/** An operation on a disk failed. */
export class DiskFault extends Schema.TaggedError<DiskFault>()("DiskFault", {
  path: Schema.String,
  /** The system's error code, such as ENOSPC. */
  code: Schema.String,
  /** The failed operation as a predicate, such as "can't be written". */
  problem: Schema.String,
  detail: Schema.String,
}) {
  override get message(): string {
    return `${this.summary}.${this.advice === undefined ? "" : ` ${this.advice}.`}`;
  }

  /** What failed and why, without a full stop. */
  get summary(): string {
    const [reason] = ADVICE[this.code] ?? [this.detail];
    return `${this.path} ${this.problem}: ${reason} (${this.code})`;
  }

  /** What to do about it, without a full stop. */
  get advice(): string | undefined {
    return ADVICE[this.code]?.[1];
  }
}

/** Converts errors of Node and of Effect's file system, which has most error codes only in the cause. */
export const diskFault =
  (path: string, problem: string) =>
  (error: unknown): DiskFault => {
    if (error instanceof DiskFault) return error;
    const detail = error instanceof Error ? error.message : String(error);
    return new DiskFault({ path, problem, code: codeOf(error), detail });
  };

/** What programs print about a full disk. */
const FULL_TEXT =
  /No space left|Disk quota exceeded|\bos error (?:28|122)\b|\b(?:ENOSPC|EDQUOT)\b|Unknown system error -122/i;

/** Whether the output of a program says that a disk is full. */
export const isAboutFullDisk = (output: string): boolean => FULL_TEXT.test(output);

/** Whether an operation or a program failed because a disk is full, or a quota is used up. */
export const isFullDisk = (error: unknown): boolean =>
  error instanceof DiskFault
    ? error.code === "ENOSPC" || error.code === "EDQUOT"
    : Predicate.hasProperty(error, "output") &&
      Predicate.isString(error.output) &&
      isAboutFullDisk(error.output);
