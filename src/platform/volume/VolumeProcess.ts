import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

import { Context, Deferred, Duration, Effect, Layer, Option, Ref, Result, Schema } from "effect";

import { Environment } from "../../settings/Environment.ts";
import { findProgram, programFolders } from "../ProgramPath.ts";
import { PYTHON } from "../PythonSetting.ts";
import { DiskFault } from "../files/DiskFault.ts";
import { jobFolders, VOLUME_PATH } from "../files/JobFolders.ts";
import { connect, type PendingRequest, type VolumeConnection } from "./VolumeConnection.ts";

/** Maximum time that an operation may take without reporting progress. */
const DEADLINE = Duration.seconds(20);

/** Time after which a slow operation is logged. */
const WARN_AFTER = Duration.seconds(5);

/** Unit of waiting. A pause of the worker counts as one of them, so that it is not taken for an outage. */
const SLICE = Duration.seconds(1);

/** Time between attempts to reach a volume that fails. */
const PROBE_INTERVAL = Duration.seconds(10);

export interface RequestOptions {
  /** Maximum time without a reply or progress. */
  readonly deadline?: Duration.Duration;
}

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
    Option.getOrUndefined(Option.map(chosen, (command) => findProgram(command, folders) ?? ""))
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

/** The process, the state of the volume, and what to do if it does not respond. */
const makeConnections = Effect.gen(function* () {
  const { forPrograms } = yield* Environment;
  const roots = yield* jobFolders;
  const volume = resolve(
    Option.getOrElse(yield* Effect.option(VOLUME_PATH.value), () => VOLUME_PATH.fallback),
  );
  const folders = programFolders(forPrograms["PATH"], roots);
  const python = Option.flatten(yield* Effect.option(PYTHON.value));
  const scope = yield* Effect.scope;
  const current = yield* Ref.make(Option.none<VolumeConnection>());
  const isDown = yield* Ref.make(false);

  const faultOf = (code: string, detail: string) =>
    new DiskFault({ path: volume, problem: "can't be accessed", code, detail });
  const unresponsive = faultOf("ETIMEDOUT", "the network volume does not respond");

  const start = Effect.suspend(() => {
    if (isAbsent(volume)) return Effect.fail(faultOf("ENOENT", "it does not exist"));
    const found = findPython(folders, python);
    if (found === undefined || found === "") {
      const reason =
        "the worker needs python3 for it, which is not on PATH. Install Python, or set WORKER_PYTHON";
      return Effect.fail(faultOf("ENOSYS", reason));
    }
    const command = { python: found, environment: forPrograms, volume, roots };
    return Effect.mapError(Effect.fromResult(connect(command)), (reason) =>
      faultOf("ENOEXEC", `${found} could not be started: ${reason}`),
    );
  });

  const startNew: Connected = Effect.tap(start, (connection) =>
    Ref.set(current, Option.some(connection)),
  );

  /** The process that is used now; started if there is none. */
  const connected: Connected = Effect.gen(function* () {
    if (yield* Ref.get(isDown)) return yield* unresponsive;
    const connection = Option.filter(yield* Ref.get(current), ({ isUsable }) => isUsable);
    return Option.isSome(connection) ? connection.value : yield* startNew;
  });

  /** Waits in a new process until the volume responds. */
  const recover = Effect.gen(function* () {
    const probing = Option.filter(yield* Ref.get(current), ({ isUsable }) => isUsable);
    const connection = Option.isSome(probing) ? probing.value : yield* startNew;
    yield* Deferred.await(connection.send("files.statfs", { path: volume }).reply);
    yield* Ref.set(isDown, false);
    yield* Effect.logInfo(`The network volume ${volume} responds again`);
  }).pipe(
    Effect.tapError(() => Effect.sleep(PROBE_INTERVAL)),
    Effect.eventually,
  );

  /** Gives up a process with an operation that hangs: it can't be killed while it waits for the volume. */
  const giveUp = Effect.fnUntraced(function* (connection: VolumeConnection) {
    if (!connection.isUsable) return;
    yield* Effect.sync(() => connection.abandon(unresponsive));
    if (yield* Ref.getAndSet(isDown, true)) return;
    yield* Effect.forkIn(recover, scope);
  });

  yield* Effect.addFinalizer(() =>
    Effect.flatMap(Ref.get(current), (connection) =>
      Option.isSome(connection) ? connection.value.end : Effect.void,
    ),
  );
  return { volume, connected, giveUp, unresponsive };
});

/** Operations that touch files name one. */
const shownPath = (args: object): string =>
  "path" in args && typeof args.path === "string" ? ` of ${args.path}` : "";

/**
 * Runs every operation on the network volume in a child process. A volume that hangs then blocks only that process:
 * the worker has no thread, open file or lock on the volume, so that it can always continue or exit.
 */
export class VolumeProcess extends Context.Service<
  VolumeProcess,
  {
    /**
     * Runs an operation on the volume; interruption cancels it. Logs a warning after 5 seconds. Fails with ETIMEDOUT
     * after the deadline (20 seconds by default), and then at once until the volume responds again.
     */
    readonly request: <A>(
      operation: string,
      args: object,
      reply: Schema.Decoder<A>,
      options?: RequestOptions,
    ) => Effect.Effect<A, DiskFault>;
    /** Whether a path is on the volume, by its name. */
    readonly contains: (path: string) => boolean;
  }
>()("worker-tetra/platform/volume/VolumeProcess") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const { volume, connected, giveUp, unresponsive } = yield* makeConnections;
      const hasWarned = yield* Ref.make(false);

      const warn = Effect.fnUntraced(function* (what: string, deadline: Duration.Duration) {
        if (yield* Ref.getAndSet(hasWarned, true)) return;
        yield* Effect.logWarning(
          `The network volume ${volume} does not respond (${what}). Waiting for up to ${Duration.format(deadline)}.`,
        );
      });

      /** Ends when the request makes no progress for the time of the deadline. */
      const expiry = Effect.fnUntraced(function* (
        pending: PendingRequest,
        what: string,
        deadline: Duration.Duration,
      ) {
        const slice = Duration.min(SLICE, deadline);
        let waited = Duration.zero;
        while (Duration.isLessThan(waited, deadline)) {
          yield* Effect.sleep(slice);
          waited = pending.hasProgressed ? Duration.zero : Duration.sum(waited, slice);
          pending.hasProgressed = false;
          if (Duration.isGreaterThanOrEqualTo(waited, WARN_AFTER)) yield* warn(what, deadline);
        }
      });

      const waitFor = Effect.fnUntraced(function* (
        connection: VolumeConnection,
        pending: PendingRequest,
        what: string,
        deadline: Duration.Duration,
      ) {
        const expired = expiry(pending, what, deadline).pipe(
          Effect.andThen(giveUp(connection)),
          Effect.andThen(Effect.fail(unresponsive)),
        );
        const value = yield* Effect.raceFirst(Deferred.await(pending.reply), expired);
        if (yield* Ref.getAndSet(hasWarned, false)) {
          yield* Effect.logInfo(`The network volume ${volume} responds again`);
        }
        return value;
      });

      const request = Effect.fnUntraced(function* <A>(
        operation: string,
        args: object,
        reply: Schema.Decoder<A>,
        { deadline = DEADLINE }: RequestOptions = {},
      ) {
        const connection = yield* connected;
        const pending = connection.send(operation, args);
        const what = `${operation}${shownPath(args)}`;
        const cancel = Effect.sync(() => connection.cancel(pending));
        const value = yield* waitFor(connection, pending, what, deadline).pipe(
          Effect.onInterrupt(() => cancel),
        );
        return yield* Schema.decodeUnknownEffect(reply)(value).pipe(Effect.orDie);
      });

      return VolumeProcess.of({
        request,
        contains: (path) => {
          const whole = resolve(path);
          return whole === volume || whole.startsWith(join(volume, "/"));
        },
      });
    }),
  );
}
