import { randomUUID } from "node:crypto";

import { Effect, FileSystem, Option } from "effect";

import { FileLock, LockUnavailable } from "../../platform/locks/FileLock.ts";
import { assertExclusive } from "../../platform/locks/LockProbe.ts";
import { check, type Outcome } from "../Check.ts";
import { CurrentPlace } from "./Volume.ts";

/** Acquires a lock like workers do, on a temporary file. */
export const lock = check(
  "Lock",
  Effect.gen(function* () {
    const { directory } = (yield* CurrentPlace).place;
    const files = yield* FileSystem.FileSystem;
    const locks = yield* FileLock;
    const path = `${directory}/.doctor-${randomUUID()}.lock`;
    yield* Effect.gen(function* () {
      yield* files.makeDirectory(directory, { recursive: true });
      const held = yield* locks.tryLock(path, "exclusive");
      if (Option.isNone(held)) return yield* new LockUnavailable({ path, reason: "it is in use" });
      yield* assertExclusive(locks, path);
    }).pipe(Effect.scoped, Effect.ensuring(Effect.ignore(files.remove(path))));
    return { state: "ok", detail: `flock works in ${directory}` } satisfies Outcome;
  }),
);
