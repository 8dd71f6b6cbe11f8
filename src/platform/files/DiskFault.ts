import { Schema } from "effect";

import { codeOf } from "../ErrorCode.ts";

const FULL = "Free some space, or take a larger disk";
const DESCRIPTORS = "Raise the limit of open files (ulimit -n), or run fewer jobs side by side";
const HEALTH = "Check the health of the machine or the volume";
const REMOUNT = "Mount the volume again";
const PERMISSION = "Allow the worker's user to write there";

/** What the system says, and what can be done about it. */
const ADVICE: Readonly<Record<string, readonly [reason: string, advice: string]>> = {
  ENOSPC: ["there is no space left", FULL],
  EDQUOT: ["the volume's quota is used up", "Remove what is not needed, or enlarge the volume"],
  EROFS: ["it is mounted read-only", "Mount it writable"],
  EACCES: ["access is denied", PERMISSION],
  EPERM: ["access is denied", PERMISSION],
  EIO: ["the disk failed", HEALTH],
  ENXIO: ["the disk failed", HEALTH],
  ENODEV: ["the disk failed", HEALTH],
  EUCLEAN: ["the disk failed", HEALTH],
  ETIMEDOUT: ["the network file system does not answer", HEALTH],
  ESTALE: ["the network file system lost it", REMOUNT],
  ENOTCONN: ["the network file system is not connected", REMOUNT],
  EHOSTDOWN: ["the network file system is not connected", REMOUNT],
  ELOOP: [
    "there is a symbolic link on the way, and links are not followed there",
    "Put a real file or folder in its place",
  ],
  ENOTDIR: ["a part of the path is not a folder", "Move away what is in its place"],
  EMLINK: [
    "the file has a second name (a hard link), so it may be somebody else's",
    "Remove it; the worker creates it again",
  ],
  ENAMETOOLONG: ["its path is too long", "Choose a folder with a shorter path"],
  EMFILE: ["the worker has too many open files", DESCRIPTORS],
  ENFILE: ["the machine has too many open files", DESCRIPTORS],
  EFBIG: ["the file is larger than this disk allows", "Choose another disk, or raise its limit"],
  EXDEV: ["another file system is mounted in it", "Unmount that first"],
  EBUSY: [
    "it is in use, or something is mounted there",
    "Unmount it, or stop the process that uses it",
  ],
  ENOENT: ["it is not there", "Make the folder, or correct the path"],
};

/** A disk does not do what is needed of it. */
export class DiskFault extends Schema.TaggedError<DiskFault>()("DiskFault", {
  path: Schema.String,
  /** The system's name of the fault, such as ENOSPC. */
  code: Schema.String,
  /** What was being done, as in "can't be written". */
  problem: Schema.String,
  detail: Schema.String,
}) {
  override get message(): string {
    const [reason, advice] = ADVICE[this.code] ?? [this.detail, undefined];
    return `${this.path} ${this.problem}: ${reason} (${this.code}).${advice === undefined ? "" : ` ${advice}.`}`;
  }
}

/** Effect's file system tells most of these apart only in the cause of its error. */
export const diskFault =
  (path: string, problem: string) =>
  (error: unknown): DiskFault => {
    if (error instanceof DiskFault) return error;
    const detail = error instanceof Error ? error.message : String(error);
    return new DiskFault({ path, problem, code: codeOf(error), detail });
  };
