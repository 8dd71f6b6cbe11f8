import { Effect, FileSystem, Layer } from "effect";

import { platformError } from "./MemoryFileSystem.ts";

/** Methods that read or change the disk and can be made to fail. */
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
  /** The system's error code. */
  readonly code: string;
  /** Only matching paths fail; all by default. */
  readonly path?: RegExp;
  /** The first matching call that fails, counted from 1. */
  readonly from?: number;
  /** The number of calls that fail; all by default. */
  readonly times?: number;
}

/** A file system with configured failures. */
export const faultyFileSystem = (
  files: FileSystem.FileSystem,
  faults: ReadonlyArray<Fault>,
): { readonly layer: Layer.Layer<FileSystem.FileSystem>; readonly met: () => number } => {
  const seen = faults.map(() => 0);
  let met = 0;
  const failIfFaulty = (method: FaultyMethod, path: string) =>
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
    access: (path, options) =>
      Effect.andThen(failIfFaulty("access", path), files.access(path, options)),
    makeDirectory: (path, options) =>
      Effect.andThen(failIfFaulty("makeDirectory", path), files.makeDirectory(path, options)),
    readDirectory: (path, options) =>
      Effect.andThen(failIfFaulty("readDirectory", path), files.readDirectory(path, options)),
    readFile: (path) => Effect.andThen(failIfFaulty("readFile", path), files.readFile(path)),
    remove: (path, options) =>
      Effect.andThen(failIfFaulty("remove", path), files.remove(path, options)),
    rename: (from, to) => Effect.andThen(failIfFaulty("rename", to), files.rename(from, to)),
    stat: (path) => Effect.andThen(failIfFaulty("stat", path), files.stat(path)),
    symlink: (target, path) =>
      Effect.andThen(failIfFaulty("symlink", path), files.symlink(target, path)),
    writeFile: (path, bytes, options) =>
      Effect.andThen(failIfFaulty("writeFile", path), files.writeFile(path, bytes, options)),
  });
  /** `met` returns the number of failed calls. */
  return { layer: Layer.succeed(FileSystem.FileSystem, faulty), met: () => met };
};
