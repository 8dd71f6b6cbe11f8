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

/** Locks can't be had here, or would not keep anybody out. */
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
  /** The open file: a program that inherits it keeps the lock for as long as it lives. */
  readonly descriptor: number | undefined;
  /** Leaves word in the file of who holds it, for those who wait. */
  readonly writeHolder: (text: string) => void;
}

const BUSY = 1;

/** The most bytes of a lock file's text that are shown. */
const MAX_HOLDER = 200;

/** What util-linux's flock(1) does, for machines without it. */
const WITH_PYTHON = `import fcntl, sys
try:
    fcntl.flock(3, getattr(fcntl, sys.argv[1]) | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(${BUSY})
`;

/**
 * Node has no flock(2). A program that inherits our descriptor locks the open file behind it, and that lock
 * stays with our descriptor when the program ends: closing it, or dying, frees it.
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
  const words = yield* Effect.tryPromise({
    try: () => (stderr === null ? Promise.resolve("") : text(stderr)),
    catch: (error) => unavailable(String(error)),
  });
  const code = yield* Deferred.await(exited);
  if (code === 0) return true;
  if (code === BUSY && words === "") return false;
  return yield* unavailable(words.trim() || `${command} ended with ${code}`);
}, Effect.scoped);

/** Another worker may create the file between our two attempts to open it: on MooseFS both then fail. */
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
    // Closing also fails if the network volume is gone, but still frees the descriptor.
    (handle) => Effect.ignore(Effect.tryPromise(() => handle.close())),
  );

/** The start of a small file, without following a link or blocking on a pipe. */
const startOf = (path: string): string => {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const buffer = Buffer.alloc(MAX_HOLDER);
    return buffer.subarray(0, readSync(fd, buffer, 0, MAX_HOLDER, 0)).toString();
  } finally {
    closeSync(fd);
  }
};

/** `flock(2)` on files: it keeps out every process that asks for it in any language, and dies with its holder. */
export class FileLock extends Context.Service<
  FileLock,
  {
    /** One try; none when somebody else holds the lock. The file is created, and never removed. */
    readonly tryLock: (
      path: string,
      mode: LockMode,
    ) => Effect.Effect<Option.Option<HeldLock>, LockUnavailable, Scope.Scope>;
    /** The word that the last holder left in the file. */
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
        const reason = "neither flock (of util-linux) nor python3 is on PATH; install one";
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
          // Anybody can write there, and it is shown in a terminal.
          const text = Result.try(() => withoutControls(startOf(path)).trim());
          return Result.isSuccess(text) && text.success !== ""
            ? Option.some(text.success)
            : Option.none();
        },
      });
    }),
  );
}
