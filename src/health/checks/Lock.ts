import { randomUUID } from "node:crypto";

import { Effect, FileSystem } from "effect";

import { BlockingLock } from "../../platform/BlockingLock.ts";
import { check, type Outcome } from "../Check.ts";
import { CurrentPlace } from "./Volume.ts";

/** Acquires a lock like workers do, on a temporary file. */
export const lock = check(
  "Lock",
  Effect.gen(function* () {
    const { directory } = (yield* CurrentPlace).place;
    const files = yield* FileSystem.FileSystem;
    const locks = yield* BlockingLock;
    const file = `${directory}/.doctor-${randomUUID()}.lock`;
    yield* files
      .makeDirectory(directory, { recursive: true })
      .pipe(
        Effect.andThen(locks.acquireUnless(file, Effect.succeedNone)),
        Effect.scoped,
        Effect.ensuring(Effect.ignore(files.remove(file))),
      );
    return { state: "ok", detail: `flock works in ${directory}` } satisfies Outcome;
  }),
);
