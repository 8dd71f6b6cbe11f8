import { readdirSync, readlinkSync } from "node:fs";

import { Option, Result } from "effect";

/** How many files and folders below a folder this process has open; only Linux tells. */
export const openFilesBelow = (folder: string): number =>
  process.platform === "linux"
    ? readdirSync("/proc/self/fd").filter((fd) =>
        Option.exists(
          Result.getSuccess(Result.try(() => readlinkSync(`/proc/self/fd/${fd}`))),
          (path) => path.startsWith(folder),
        ),
      ).length
    : 0;
