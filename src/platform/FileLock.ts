import { closeSync, constants, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { text } from "node:stream/consumers";

import { Context, Deferred, Effect, Layer, Option, Result, Schema, type Scope } from "effect";

import { Environment } from "../settings/Environment.ts";
import { withoutControls } from "./ControlCharacters.ts";
import { codeOf } from "./ErrorCode.ts";
import { findProgram, programFolders } from "./ProgramPath.ts";
import { spawnProgram } from "./SpawnedProgram.ts";
import { diskFault } from "./files/DiskFault.ts";
import { jobFolders } from "./files/JobFolders.ts";
import { openFile } from "./files/SafePaths.ts";

export type LockMode = "exclusive" | "shared";

/** Locking is not possible here, or has no effect. */
export class LockUnavailable extends Schema.TaggedError<LockUnavailable>()("LockUnavailable", {
  path: Schema.String,
  reason: Schema.String,
}) {
  override get message(): string {
    return `${this.path} can't be locked: ${this.reason}`;
  }
}

/** A lock that is held until its scope closes. */
export interface HeldLock {
  /** The open file: a program that inherits it keeps the lock until it ends. */
  readonly descriptor: number | undefined;
  /** Writes who holds the lock into the file, for messages of workers that wait for it. */
  readonly writeHolder: (text: string) => void;
}

/** Exit code when another process holds the lock. */
const BUSY = 1;

/** In bytes: how much of a lock file is read. */
const MAX_HOLDER = 200;

/** Does the same as flock(1) of util-linux, for machines without it. */
const WITH_PYTHON = `import fcntl, sys
try:
    fcntl.flock(3, getattr(fcntl, sys.argv[1]) | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(${BUSY})
`;

/**
 * Node has no flock(2). A child process that inherits the descriptor locks its open file description. The lock stays
 * with the worker's descriptor after the child ends, and is released when the worker closes it or ends.
 */
const lockDescriptor = Effect.fnUntraced(function* (
  path: string,
  descriptor: number,
  [command, args]: readonly [command: string, args: ReadonlyArray<string>],
  environment: Readonly<Record<string, string>>,
) {
  const unavailable = (reason: string) => new LockUnavailable({ path, reason });
  const { child, exited } = yield* Effect.acquireRelease(
    spawnProgram(command, args, { environment, descriptor, stdout: "ignore" }),
    ({ exited: ended, signal }) =>
      Effect.sync(() => {
        if (!Deferred.isDoneUnsafe(ended)) signal("SIGKILL");
      }),
  ).pipe(Effect.mapError(unavailable));
  const { stderr } = child;
  const errors = yield* Effect.tryPromise({
    try: () => (stderr === null ? Promise.resolve("") : text(stderr)),
    catch: (error) => unavailable(String(error)),
  });
  const code = yield* Deferred.await(exited);
  if (code === 0) return true;
  if (code === BUSY && errors === "") return false;
  return yield* unavailable(errors.trim() || `${command} exited with ${code}`);
}, Effect.scoped);

/** If another worker creates the file between the two ways of opening it, both fail on MooseFS. */
const OPEN_TRIES = 5;

/** Opens the file and keeps its content; creates it if it is missing. */
const openLock = async (
  roots: ReadonlyArray<string>,
  path: string,
  tries = OPEN_TRIES,
): Promise<FileHandle> => {
  const flags = constants.O_RDWR | constants.O_APPEND;
  try {
    return await openFile(roots, path, flags);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
  try {
    return await openFile(roots, path, flags | constants.O_CREAT | constants.O_EXCL, 0o666);
  } catch (error) {
    if (codeOf(error) !== "EEXIST" || tries === 1) throw error;
    return openLock(roots, path, tries - 1);
  }
};

/** Opens a new descriptor. Refuses anything but a regular file with a single name. */
const open = (roots: ReadonlyArray<string>, path: string) =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: () => openLock(roots, path),
      catch: (error) =>
        new LockUnavailable({
          path,
          reason: diskFault(path, "can't be opened")(error).message,
        }),
    }),
    // Closing fails if the network volume is disconnected, but still frees the descriptor.
    (handle) => Effect.ignore(Effect.tryPromise(() => handle.close())),
  );

/** Reads the start of a file without following a link or blocking on a pipe. */
const readStart = (path: string): string => {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const buffer = Buffer.alloc(MAX_HOLDER);
    return buffer.subarray(0, readSync(fd, buffer, 0, MAX_HOLDER, 0)).toString();
  } finally {
    closeSync(fd);
  }
};

/** Locks by `flock(2)`, which workers in other languages respect too. The kernel releases them when a process ends. */
export class FileLock extends Context.Service<
  FileLock,
  {
    /** One try; none if another process holds the lock. Creates the file if needed, and never removes it. */
    readonly tryLock: (
      path: string,
      mode: LockMode,
    ) => Effect.Effect<Option.Option<HeldLock>, LockUnavailable, Scope.Scope>;
    /** What the last holder wrote into the file. */
    readonly holder: (path: string) => Option.Option<string>;
  }
>()("worker-tetra/platform/FileLock") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const { forPrograms } = yield* Environment;
      const roots = yield* jobFolders;
      const folders = programFolders(forPrograms["PATH"], roots);

      /** The program that locks descriptor 3. */
      const lockCommand = (mode: LockMode) => {
        const flock = findProgram("flock", folders);
        if (flock !== undefined) {
          return [flock, [mode === "shared" ? "-s" : "-x", "-n", "3"]] as const;
        }
        const python = findProgram("python3", folders);
        if (python === undefined) return undefined;
        const name = mode === "shared" ? "LOCK_SH" : "LOCK_EX";
        return [python, ["-I", "-c", WITH_PYTHON, name]] as const;
      };

      const attempt = (path: string, fd: number, mode: LockMode) => {
        const command = lockCommand(mode);
        if (command !== undefined) return lockDescriptor(path, fd, command, forPrograms);
        const reason = "neither flock (of util-linux) nor python3 is on PATH; install one of them";
        return Effect.fail(new LockUnavailable({ path, reason }));
      };

      const tryLock = Effect.fn("FileLock.tryLock")(function* (path: string, mode: LockMode) {
        const { fd } = yield* open(roots, path);
        if (!(yield* attempt(path, fd, mode))) return Option.none<HeldLock>();
        return Option.some<HeldLock>({
          descriptor: fd,
          writeHolder: (text) => {
            Result.try(() => {
              ftruncateSync(fd, 0);
              writeSync(fd, text);
            });
          },
        });
      });

      return FileLock.of({
        tryLock,
        holder: (path) => {
          // Other endpoints can write to the file, and the text is printed to a terminal.
          const text = Result.try(() => withoutControls(readStart(path)).trim());
          return Result.isSuccess(text) && text.success !== ""
            ? Option.some(text.success)
            : Option.none();
        },
      });
    }),
  );
}
