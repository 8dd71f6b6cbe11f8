import { Effect, Layer, Option } from "effect";

import { FileLock, LockUnavailable } from "../../../src/platform/locks/FileLock.ts";
import type { LockMode } from "../../../src/platform/locks/HeldLock.ts";
import type { MemoryFileSystem } from "./MemoryFileSystem.ts";

export interface Behaviour {
  /** Paths where every lock succeeds, as on some mounts. */
  readonly withoutEffect?: RegExp;
  /** Paths whose locks other workers always hold. */
  readonly held?: RegExp;
  /** If set, all locks fail with this reason. */
  readonly refusal?: string;
}

/** Locks on files of a file system in memory. */
export const memoryFileLock = (
  memory: MemoryFileSystem,
  { withoutEffect, held: heldByOthers, refusal }: Behaviour = {},
) => {
  const holders = new Map<string, Array<LockMode>>();
  /** Every try, in order. */
  const tries: Array<string> = [];

  const tryLock: FileLock["Service"]["tryLock"] = Effect.fnUntraced(function* (path, mode) {
    tries.push(`${mode} ${path}`);
    if (refusal !== undefined) return yield* new LockUnavailable({ path, reason: refusal });
    // Only creates a file: locking does not change its modification time.
    yield* memory.files.exists(path).pipe(
      Effect.flatMap((exists) =>
        exists ? Effect.void : memory.files.writeFileString(path, "", { flag: "a" }),
      ),
      Effect.mapError((error) => new LockUnavailable({ path, reason: error.message })),
    );
    const held = holders.get(path) ?? [];
    const isBusy = mode === "exclusive" ? held.length > 0 : held.includes("exclusive");
    if (isBusy && withoutEffect?.test(path) !== true) return Option.none();
    if (heldByOthers?.test(path) === true) return Option.none();
    holders.set(path, held);
    yield* Effect.acquireRelease(
      Effect.sync(() => held.push(mode)),
      () => Effect.sync(() => held.splice(held.indexOf(mode), 1)),
    );
    return Option.some({
      write: (text: string) => Effect.sync(() => memory.plant({ [path]: text })),
      touch: Effect.sync(() => {
        const text = memory.show()[path];
        if (typeof text === "string") memory.plant({ [path]: text });
      }),
    });
  });

  const layer = Layer.succeed(
    FileLock,
    FileLock.of({
      tryLock,
      read: (path) =>
        Effect.sync(() => {
          const text = memory.show()[path];
          return typeof text === "string" && text !== "" ? Option.some(text) : Option.none();
        }),
    }),
  );
  return {
    layer,
    tries,
    tryLock,
    /** The locks that are held on a file. */
    held: (path: string): ReadonlyArray<LockMode> => holders.get(path) ?? [],
    /** Files that are locked. */
    paths: (): ReadonlyArray<string> =>
      [...holders].filter(([, modes]) => modes.length > 0).map(([path]) => path),
  };
};
