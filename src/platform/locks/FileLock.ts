import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { text } from "node:stream/consumers";

import { Context, Deferred, Effect, Layer, Option, Schema, type Scope } from "effect";

import { Environment } from "../../settings/Environment.ts";
import { wallMillis } from "../../settings/SteadyClock.ts";
import { withoutControls } from "../ControlCharacters.ts";
import { type DiskFault, diskFault } from "../files/DiskFault.ts";
import { jobFolders } from "../files/JobFolders.ts";
import { openFile } from "../files/safe/SafePaths.ts";
import { findProgram, programFolders } from "../programs/ProgramPath.ts";
import { spawnProgram } from "../programs/SpawnedProgram.ts";
import { volumeLocks } from "../volume/VolumeLocks.ts";
import { VolumeProcess } from "../volume/VolumeProcess.ts";
import type { HeldLock, LockMode } from "./HeldLock.ts";

/** Locking is not possible here, or has no effect. */
export class LockUnavailable extends Schema.TaggedError<LockUnavailable>()("LockUnavailable", {
  path: Schema.String,
  reason: Schema.String,
}) {
  override get message(): string {
    return `${this.path} can't be locked: ${this.reason}`;
  }
}

/** Exit code when another process holds the lock. */
const BUSY = 1;

/** In bytes: how much of a lock file is read. */
const MAX_CONTENT = 200;

const unavailable = (path: string, { message }: DiskFault) =>
  new LockUnavailable({ path, reason: message });

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
  const failed = (reason: string) => new LockUnavailable({ path, reason });
  const { child, exited } = yield* Effect.acquireRelease(
    spawnProgram(command, args, { environment, descriptor, stdout: "ignore" }),
    ({ exited: ended, signal }) =>
      Effect.sync(() => {
        if (!Deferred.isDoneUnsafe(ended)) signal("SIGKILL");
      }),
  ).pipe(Effect.mapError(failed));
  const { stderr } = child;
  const errors = yield* Effect.tryPromise({
    try: () => (stderr === null ? Promise.resolve("") : text(stderr)),
    catch: (error) => failed(String(error)),
  });
  const code = yield* Deferred.await(exited);
  if (code === 0) return true;
  if (code === BUSY && errors === "") return false;
  return yield* failed(errors.trim() || `${command} exited with ${code}`);
}, Effect.scoped);

/** Opens a new descriptor, and creates the file if it is missing. Refuses anything but a regular file with one name. */
const open = (roots: ReadonlyArray<string>, path: string) =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: () => openFile(roots, path, constants.O_RDWR | constants.O_CREAT, 0o666),
      catch: (error) => unavailable(path, diskFault(path, "can't be opened")(error)),
    }),
    // Closing frees the descriptor even if it fails.
    (handle) =>
      Effect.tryPromise(() => handle.close()).pipe(
        Effect.catch((error) => Effect.logDebug(`Could not close ${path}: ${error.message}`)),
      ),
  );

const replaceContent = async (handle: FileHandle, text: string) => {
  const bytes = Buffer.from(text);
  await handle.write(bytes, 0, bytes.byteLength, 0);
  await handle.truncate(bytes.byteLength);
};

const heldLock = (handle: FileHandle, path: string): HeldLock => {
  const change = (act: () => Promise<void>) =>
    Effect.tryPromise({ try: act, catch: diskFault(path, "can't be written") });
  const touchAt = (time: Date) => change(() => handle.utimes(time, time));
  return {
    write: (text) => change(() => replaceContent(handle, text)),
    touch: Effect.flatMap(wallMillis, (millis) => touchAt(new Date(millis))),
  };
};

/** Reads the start of a file without following a link or blocking on a pipe. */
const readStart = async (roots: ReadonlyArray<string>, path: string) => {
  const handle = await openFile(roots, path, constants.O_RDONLY);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAX_CONTENT), 0, MAX_CONTENT, 0);
    return buffer.subarray(0, bytesRead).toString();
  } finally {
    await handle.close();
  }
};

/** Locks on local disks. */
const localLocks = Effect.gen(function* () {
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

  return {
    tryLock: Effect.fnUntraced(function* (path: string, mode: LockMode) {
      const handle = yield* open(roots, path);
      if (!(yield* attempt(path, handle.fd, mode))) return Option.none<HeldLock>();
      return Option.some(heldLock(handle, path));
    }),
    read: (path: string) => Effect.tryPromise(() => readStart(roots, path)),
  };
});

/** Locks by `flock(2)`, which workers in other languages respect too. The kernel releases them when a process ends. */
export class FileLock extends Context.Service<
  FileLock,
  {
    /** One try; none if another process holds the lock. Creates the file if needed, and never removes it. */
    readonly tryLock: (
      path: string,
      mode: LockMode,
    ) => Effect.Effect<Option.Option<HeldLock>, LockUnavailable, Scope.Scope>;
    /** What the last holder wrote into the file; none if it is empty or can't be read. */
    readonly read: (path: string) => Effect.Effect<Option.Option<string>>;
  }
>()("worker-tetra/platform/locks/FileLock") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const volume = yield* VolumeProcess;
      const local = yield* localLocks;
      const onVolume = volumeLocks(volume);

      return FileLock.of({
        tryLock: Effect.fn("FileLock.tryLock")(function* (path: string, mode: LockMode) {
          if (!volume.contains(path)) return yield* local.tryLock(path, mode);
          return yield* Effect.mapError(onVolume.tryLock(path, mode), (fault) =>
            unavailable(path, fault),
          );
        }),
        read: (path) =>
          Effect.option<string, unknown, never>(
            volume.contains(path) ? onVolume.read(path) : local.read(path),
          ).pipe(
            // Other endpoints can write to the file, and the text is printed to a terminal.
            Effect.map(Option.map((text) => withoutControls(text).trim())),
            Effect.map(Option.filter((text) => text !== "")),
          ),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(VolumeProcess.layer));
}
