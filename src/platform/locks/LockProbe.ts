import { dirname } from "node:path";

import { Effect, Option } from "effect";

import { type FileLock, LockUnavailable } from "./FileLock.ts";

/**
 * On some mounts `flock` always succeeds. Locking a file that is locked already through a second descriptor detects
 * this. Fails where locks have no effect.
 */
export const assertExclusive = Effect.fn("FileLock.probe")(function* (
  locks: FileLock["Service"],
  path: string,
) {
  if (Option.isSome(yield* Effect.scoped(locks.tryLock(path, "exclusive")))) {
    return yield* new LockUnavailable({
      path: dirname(path),
      reason:
        "flock has no effect on this file system, so workers would overwrite each other's work. Use a volume whose mount supports it",
    });
  }
});
