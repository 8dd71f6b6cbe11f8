import { Effect, FileSystem, Layer, Option } from "effect";

import { FileLock } from "../../../src/platform/locks/FileLock.ts";
import { Programs } from "../../../src/platform/programs/Programs.ts";

/** Runs before each operation of a worker on a file, a lock or a program, so that a test can stop the worker there. */
export type Step = (operation: string, path: string) => Effect.Effect<void>;

export const steppedFiles = (files: FileSystem.FileSystem, step: Step) => {
  const after = <A, E, R>(operation: string, path: string, effect: Effect.Effect<A, E, R>) =>
    Effect.andThen(step(operation, path), effect);
  return FileSystem.make({
    ...files,
    access: (path, options) => after("access", path, files.access(path, options)),
    lstat: (path) => after("lstat", path, files.lstat(path)),
    makeDirectory: (path, options) =>
      after("makeDirectory", path, files.makeDirectory(path, options)),
    readDirectory: (path, options) =>
      after("readDirectory", path, files.readDirectory(path, options)),
    readFile: (path) => after("readFile", path, files.readFile(path)),
    readLink: (path) => after("readLink", path, files.readLink(path)),
    remove: (path, options) => after("remove", path, files.remove(path, options)),
    rename: (from, to) => after("rename", to, files.rename(from, to)),
    stat: (path) => after("stat", path, files.stat(path)),
    symlink: (target, path) => after("symlink", path, files.symlink(target, path)),
    writeFile: (path, bytes, options) =>
      after("writeFile", path, files.writeFile(path, bytes, options)),
  });
};

export const steppedLocks = (step: Step) =>
  Layer.effect(
    FileLock,
    Effect.map(FileLock, ({ tryLock, read }) =>
      FileLock.of({
        tryLock: (path, mode) =>
          Effect.andThen(step("lock", path), tryLock(path, mode)).pipe(
            Effect.map(
              Option.map(({ write, touch }) => ({
                write: (text: string) => Effect.andThen(step("announce", path), write(text)),
                touch: Effect.andThen(step("heartbeat", path), touch),
              })),
            ),
          ),
        read: (path) => Effect.andThen(step("readLock", path), read(path)),
      }),
    ),
  );

export const steppedPrograms = (step: Step) =>
  Layer.effect(
    Programs,
    Effect.map(Programs, ({ run }) =>
      Programs.of({
        run: (command, args, options) =>
          Effect.andThen(step(command, args.join(" ")), run(command, args, options)),
      }),
    ),
  );
