import { readdirSync, readlinkSync } from "node:fs";

import { Option, Result } from "effect";

/** The number of files and folders below a folder that this process has open; always 0 except on Linux. */
export const openFilesBelow = (folder: string): number =>
  process.platform === "linux"
    ? readdirSync("/proc/self/fd").filter((fd) =>
        Option.exists(
          Result.getSuccess(Result.try(() => readlinkSync(`/proc/self/fd/${fd}`))),
          (path) => path.startsWith(folder),
        ),
      ).length
    : 0;
