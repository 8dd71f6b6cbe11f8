import { Effect, FileSystem, Layer } from "effect";

import { platformError } from "./MemoryFileSystem.ts";

/** Methods that change something on the disk, or tell what is there. */
type FaultyMethod =
  | "access"
  | "makeDirectory"
  | "readDirectory"
  | "readFile"
  | "remove"
  | "rename"
  | "stat"
  | "symlink"
  | "writeFile";

export interface Fault {
  readonly method: FaultyMethod;
  /** The system's name of what is wrong. */
  readonly code: string;
  /** Only for paths that match. */
  readonly path?: RegExp;
  /** The first call that fails, counted from 1 over those that match. */
  readonly from?: number;
  /** How many calls fail; all of them unless said. */
  readonly times?: number;
}

/** A file system some of whose calls fail as those of a bad disk do. */
export const faultyFileSystem = (
  files: FileSystem.FileSystem,
  faults: ReadonlyArray<Fault>,
): { readonly layer: Layer.Layer<FileSystem.FileSystem>; readonly met: () => number } => {
  const seen = faults.map(() => 0);
  let met = 0;
  const trip = (method: FaultyMethod, path: string) =>
    Effect.suspend(() => {
      for (const [index, fault] of faults.entries()) {
        if (fault.method !== method || fault.path?.test(path) === false) continue;
        const count = (seen[index] ?? 0) + 1;
        seen[index] = count;
        const from = fault.from ?? 1;
        if (count >= from && count < from + (fault.times ?? Infinity)) {
          met += 1;
          return Effect.fail(platformError(fault.code, method, path));
        }
      }
      return Effect.void;
    });
  const faulty = FileSystem.make({
    ...files,
    access: (path, options) => Effect.andThen(trip("access", path), files.access(path, options)),
    makeDirectory: (path, options) =>
      Effect.andThen(trip("makeDirectory", path), files.makeDirectory(path, options)),
    readDirectory: (path, options) =>
      Effect.andThen(trip("readDirectory", path), files.readDirectory(path, options)),
    readFile: (path) => Effect.andThen(trip("readFile", path), files.readFile(path)),
    remove: (path, options) => Effect.andThen(trip("remove", path), files.remove(path, options)),
    rename: (from, to) => Effect.andThen(trip("rename", to), files.rename(from, to)),
    stat: (path) => Effect.andThen(trip("stat", path), files.stat(path)),
    symlink: (target, path) => Effect.andThen(trip("symlink", path), files.symlink(target, path)),
    writeFile: (path, bytes, options) =>
      Effect.andThen(trip("writeFile", path), files.writeFile(path, bytes, options)),
  });
  /** `met` counts the calls that failed so far. */
  return { layer: Layer.succeed(FileSystem.FileSystem, faulty), met: () => met };
};
