import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { basename, dirname } from "node:path";

import { Deferred, Duration, Effect, Option, Ref, Result } from "effect";

import { Environment } from "../../settings/Environment.ts";
import { PYTHON } from "../PythonSetting.ts";
import { DiskFault } from "../files/DiskFault.ts";
import { jobFolders, volumeRoot } from "../files/JobFolders.ts";
import { findProgram, programFolders } from "../programs/ProgramPath.ts";
import { connect, type VolumeConnection } from "./VolumeConnection.ts";

/** Time between attempts to reach a volume that fails. */
const PROBE_INTERVAL = Duration.seconds(10);

const isScript = (file: string): boolean =>
  Result.getOrElse(
    Result.try(() => {
      const fd = openSync(file, "r");
      try {
        const start = Buffer.alloc(2);
        readSync(fd, start, 0, 2, 0);
        return start.toString() === "#!";
      } finally {
        closeSync(fd);
      }
    }),
    () => false,
  );

/** An interpreter for the process. Shims (scripts that select an interpreter, as pyenv has) start slowly. */
const findPython = (folders: ReadonlyArray<string>, chosen: Option.Option<string>) => {
  const found = folders.flatMap((folder) => findProgram("python3", [folder]) ?? []);
  return (
    found.find((file) => !isScript(file)) ??
    found[0] ??
    (Option.isSome(chosen) ? findProgram(chosen.value, folders) : undefined)
  );
};

/** Whether a folder directly below `/`, which is never on a network, does not exist. */
const isAbsent = (folder: string): boolean =>
  dirname(folder) === "/" &&
  Result.match(
    Result.try(() => readdirSync("/")),
    { onSuccess: (names) => !names.includes(basename(folder)), onFailure: () => false },
  );

type Connected = Effect.Effect<VolumeConnection, DiskFault>;

/** Errors of the volume as a whole. */
const faultOf = (volume: string, code: string, detail: string) =>
  new DiskFault({ path: volume, problem: "can't be accessed", code, detail });

/** Starts processes for the volume. */
const processStart = Effect.gen(function* () {
  const { forPrograms } = yield* Environment;
  const roots = yield* jobFolders;
  const volume = yield* volumeRoot;
  const folders = programFolders(forPrograms["PATH"], roots);
  const chosen = Option.flatten(yield* Effect.option(PYTHON.value));

  return () => {
    const failed = (code: string, detail: string) => Effect.fail(faultOf(volume, code, detail));
    if (isAbsent(volume)) return failed("ENOENT", "it does not exist");
    const python = findPython(folders, chosen);
    if (python === undefined) {
      const reason =
        "the worker needs python3 for it, which is not on PATH. Install Python, or set WORKER_PYTHON";
      return failed("ENOSYS", reason);
    }
    const started = connect({ python, environment: forPrograms, volume, roots });
    return Result.isSuccess(started)
      ? Effect.succeed(started.success)
      : failed("ENOEXEC", `${python} could not be started: ${started.failure}`);
  };
});

/** The process, whether the volume responds, and what to do if it does not. */
export const volumeState = Effect.gen(function* () {
  const volume = yield* volumeRoot;
  const start = yield* processStart;
  const scope = yield* Effect.scope;
  const current = yield* Ref.make(Option.none<VolumeConnection>());
  const unresponsive = faultOf(volume, "ETIMEDOUT", "the network volume does not respond");
  const ended = faultOf(volume, "EPIPE", "the worker stops");
  /** Why requests fail at once. */
  const refusal = yield* Ref.make(Option.none<DiskFault>());

  const startNew: Connected = Effect.tap(Effect.suspend(start), (connection) =>
    Ref.set(current, Option.some(connection)),
  );

  /** The process that is used now; started if there is none. */
  const connected: Connected = Effect.gen(function* () {
    const refused = yield* Ref.get(refusal);
    if (Option.isSome(refused)) return yield* refused.value;
    const connection = Option.filter(yield* Ref.get(current), ({ isUsable }) => isUsable);
    return Option.isSome(connection) ? connection.value : yield* startNew;
  });

  /** Waits in a new process until the volume responds. */
  const recover = Effect.gen(function* () {
    const probing = Option.filter(yield* Ref.get(current), ({ isUsable }) => isUsable);
    const connection = Option.isSome(probing) ? probing.value : yield* startNew;
    yield* Deferred.await(connection.send("files.statfs", { path: volume }).reply);
    yield* Ref.set(refusal, Option.none());
    yield* Effect.logInfo(`The network volume ${volume} responds again`);
  }).pipe(
    Effect.tapError(() => Effect.sleep(PROBE_INTERVAL)),
    Effect.eventually,
  );

  /** Gives up a process with an operation that hangs: it can't be killed while it waits for the volume. */
  const giveUp = Effect.fnUntraced(function* (connection: VolumeConnection) {
    if (!connection.isUsable) return;
    yield* Ref.set(current, Option.none());
    const before = yield* Ref.getAndSet(refusal, Option.some(unresponsive));
    if (Option.isNone(before)) yield* Effect.forkIn(Effect.interruptible(recover), scope);
    // Last: it fails the request that is given up, and so interrupts this.
    yield* Effect.sync(() => connection.abandon(unresponsive));
  }, Effect.uninterruptible);

  yield* Effect.addFinalizer(() =>
    Effect.gen(function* () {
      yield* Ref.set(refusal, Option.some(ended));
      const connection = yield* Ref.get(current);
      if (Option.isSome(connection)) yield* connection.value.end;
    }),
  );
  const isInUse = Effect.map(
    Ref.get(current),
    Option.exists(({ isUsable }) => isUsable),
  );
  return { volume, connected, giveUp, unresponsive, isInUse };
});
