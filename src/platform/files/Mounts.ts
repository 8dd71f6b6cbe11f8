import { readFile } from "node:fs/promises";

import { Effect, Option } from "effect";

/** Types of file systems whose files are on another machine, or behind a program. */
const NETWORK =
  /^(?:fuse(?!\.fuse-overlayfs)|nfs|cifs|smb|ceph|glusterfs|lustre|9p|virtiofs|beegfs)/;

/** Types of file systems whose files are in memory. */
const MEMORY = /^(?:tmpfs|ramfs)$/;

/** Spaces and some other characters are octal numbers in the list of mounts. */
const unescape = (path: string): string =>
  path.replaceAll(/\\(\d{3})/g, (_, octal: string) =>
    String.fromCodePoint(Number.parseInt(octal, 8)),
  );

/**
 * The type of the file system of a path, by the text of /proc/self/mountinfo (see proc(5)); undefined if it is unknown.
 * The last of several mounts at one point is on top.
 */
export const mountType = (mounts: string, path: string): string | undefined => {
  let type: string | undefined;
  let length = -1;
  for (const line of mounts.split("\n")) {
    const [before = "", after = ""] = line.split(" - ", 2);
    const point = unescape(before.split(" ")[4] ?? "");
    const isAbove = point === "/" || path === point || path.startsWith(`${point}/`);
    if (point === "" || !isAbove || point.length < length) continue;
    length = point.length;
    type = after.split(" ")[0];
  }
  return type;
};

/** Does not touch the file system of the path, which may hang. */
const typeOf = (path: string) =>
  Effect.tryPromise(() => readFile("/proc/self/mountinfo", "utf8")).pipe(
    Effect.map((mounts) => Option.fromUndefinedOr(mountType(mounts, path))),
    Effect.orElseSucceed(Option.none<string>),
  );

/** Whether an absolute path is on a network file system. */
export const isOnNetwork = (path: string) =>
  Effect.map(
    typeOf(path),
    Option.exists((type) => NETWORK.test(type)),
  );

/** Whether an absolute path is in memory. */
export const isInMemory = (path: string) =>
  Effect.map(
    typeOf(path),
    Option.exists((type) => MEMORY.test(type)),
  );
