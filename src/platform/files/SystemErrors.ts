import { PlatformError } from "effect";

import { codeOf } from "../ErrorCode.ts";

const TAGS: Readonly<Record<string, PlatformError.SystemErrorTag>> = {
  ENOENT: "NotFound",
  EACCES: "PermissionDenied",
  EPERM: "PermissionDenied",
  EEXIST: "AlreadyExists",
  EISDIR: "BadResource",
  ENOTDIR: "BadResource",
  ELOOP: "BadResource",
  EBUSY: "Busy",
};

/** Converts an error with a system's code to one of Effect's file system, whose cause it becomes. */
export const platformErrorOf =
  (method: string, path: string) =>
  (cause: unknown): PlatformError.PlatformError =>
    PlatformError.systemError({
      _tag: TAGS[codeOf(cause)] ?? "Unknown",
      module: "FileSystem",
      method,
      pathOrDescriptor: path,
      description: cause instanceof Error ? cause.message : String(cause),
      cause,
    });

/** Fails for flags of `writeFile` other than `w` and `wx`. */
export const unsupportedFlag = (flag: string): PlatformError.PlatformError =>
  PlatformError.badArgument({
    module: "FileSystem",
    method: "writeFile",
    description: `the flag ${flag} is not supported`,
  });
