import { tmpdir } from "node:os";

import { Deferred, Duration, Effect, Exit, FileSystem, Option, Schema } from "effect";

import { diskFault } from "../platform/files/DiskFault.ts";
import {
  type RunnerCommand,
  type RunnerExit,
  type RunnerListener,
  type RunnerProcess,
  RunnerProcesses,
  type RunnerSetup,
} from "./RunnerProcess.ts";
import { FrameType, type Imports, Ready } from "./RunnerProtocol.ts";
import { type Exchange, type ExchangeListener, Exchanges } from "./call/Exchanges.ts";
import { ImportWatch, type ImportsEnd } from "./imports/ImportWatch.ts";
import { type Frame } from "./process/Frames.ts";

/** The time for a new process to become ready. The first imports from a network volume are slow. */
const BOOT_TIMEOUT = Duration.seconds(120);

/** The runner's exit code when cloudpickle can't be imported. */
const CLOUDPICKLE_MISSING = 3;

/** A runner was started but never became ready. */
export class BootFailed extends Schema.TaggedError<BootFailed>()("BootFailed", {
  reason: Schema.String,
  output: Schema.String,
  /** Its exit code, if it exited by itself: then a broken venv may be the cause, unlike after a signal or a timeout. */
  exitCode: Schema.optionalKey(Schema.Finite),
  /** Whether the network volume stopped to respond. */
  isVolumeFault: Schema.optionalKey(Schema.Boolean),
}) {
  override get message(): string {
    return `the runner ${this.reason}`;
  }

  /** Whether Python started and only cloudpickle is missing in the venv. */
  get cloudpickleMissing(): boolean {
    return this.exitCode === CLOUDPICKLE_MISSING;
  }
}

/** A runner that is ready for calls. */
export interface RunnerSession {
  readonly ready: Ready;
  readonly process: RunnerProcess;
  /** How the process ended, if it has. */
  readonly exit: () => RunnerExit | undefined;
  /** Sends a call. */
  readonly begin: (
    meta: object,
    blobs: ReadonlyArray<Uint8Array>,
    listener: ExchangeListener,
  ) => Exchange;
  /** Stops the code of a call that overlaps with others. */
  readonly cancel: (exchange: Exchange) => void;
  /** The imports of the process. */
  readonly imports: ImportWatch;
  /** Imports modules until the next call arrives. Must not be called while a call is running. */
  readonly importWhileIdle: (imports: Imports) => Deferred.Deferred<ImportsEnd>;
  /** Called when the exchange of a call is over, also after a failure. */
  readonly finish: (exchange: Exchange) => void;
  /** Sends output that belongs to no call to a function instead of keeping it. */
  readonly redirectIdleOutput: (receive: (bytes: Buffer) => void) => void;
  /** Returns and clears the output that was written while no call was running. */
  readonly consumeIdleOutput: () => string;
}

const decodeReady = Schema.decodeUnknownOption(Ready);

const exitedEarly = (exit: RunnerExit | undefined, output: string): BootFailed => {
  const { code, signal } = exit ?? { code: undefined, signal: undefined };
  return new BootFailed({
    reason:
      signal === undefined
        ? `exited before it was ready, with exit code ${code ?? "unknown"}`
        : `was killed by ${signal} before it was ready`,
    output,
    ...(code === undefined ? {} : { exitCode: code }),
  });
};

const scratchFolder = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  return yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-" }).pipe(
    Effect.mapError(
      (error) =>
        new BootFailed({
          reason: `has no temporary folder. ${diskFault(tmpdir(), "can't be written")(error).message} Or set TMPDIR to a writable folder`,
          output: "",
        }),
    ),
  );
});

/** A process that is not ready yet. */
export interface Booting {
  readonly process: RunnerProcess;
  readonly scratch: string;
  readonly exchanges: Exchanges;
  readonly imports: ImportWatch;
  /** Its `ready` frame; none if it ended before. */
  readonly readyFrame: Deferred.Deferred<Option.Option<Frame>>;
  readonly exit: () => RunnerExit | undefined;
}

/** Starts an interpreter, which ends with the scope. It imports the runner and waits for its configuration. */
export const startProcess = Effect.fn("RunnerSession.startProcess")(function* (
  command: Omit<RunnerCommand, "scratch">,
) {
  const scratch = yield* scratchFolder;
  const exchanges = new Exchanges();
  const imports = new ImportWatch();
  const readyFrame = yield* Deferred.make<Option.Option<Frame>>();
  let isReady = false;
  let ended: RunnerExit | undefined;
  const listener: RunnerListener = {
    limitOf: (type, call) => {
      if (type === FrameType.ready) return isReady ? undefined : 0;
      if (type === FrameType.imported) return isReady ? 0 : undefined;
      return exchanges.limitOf(type, call);
    },
    frame: (frame) => {
      if (frame.type === FrameType.ready) {
        isReady = true;
        Deferred.doneUnsafe(readyFrame, Exit.succeed(Option.some(frame)));
      } else if (frame.type === FrameType.imported) imports.receive(frame.meta);
      else exchanges.receive(frame, runner.drain);
    },
    output: (bytes) => exchanges.write(bytes),
    exit: (exit) => {
      ended = exit;
      Deferred.doneUnsafe(readyFrame, Exit.succeed(Option.none()));
      imports.processEnded();
      exchanges.end(exit);
    },
  };
  const runner = yield* (yield* RunnerProcesses).spawn({ ...command, scratch }, listener);
  const booting: Booting = {
    process: runner,
    scratch,
    exchanges,
    imports,
    readyFrame,
    exit: () => ended,
  };
  return booting;
});

/** Waits until the process is ready. */
const awaitReady = Effect.fnUntraced(function* ({ process, readyFrame, exit }: Booting) {
  const frame = yield* Effect.timeoutOption(Deferred.await(readyFrame), BOOT_TIMEOUT);
  if (Option.isNone(frame)) {
    return yield* new BootFailed({
      reason: `was not ready after ${Duration.toSeconds(BOOT_TIMEOUT)} seconds: the disk or the machine is very slow or overloaded`,
      output: process.bootOutput(),
    });
  }
  const ready = Option.flatMap(frame.value, ({ meta }) => decodeReady(meta));
  if (Option.isNone(ready)) return yield* exitedEarly(exit(), process.bootOutput());
  return ready.value;
});

/** Configures a process and waits until it is ready. */
export const configure = Effect.fn("RunnerSession.configure")(function* (
  booting: Booting,
  setup: RunnerSetup,
): Effect.fn.Return<RunnerSession, BootFailed> {
  const { process, scratch, exchanges, imports, exit } = booting;
  process.configure(setup);
  const ready = yield* awaitReady(booting);
  if (!process.attach()) {
    return yield* new BootFailed({
      reason: `has an output pipe in ${scratch} that can't be opened`,
      output: process.bootOutput(),
    });
  }
  return {
    ready,
    process,
    exit,
    begin: (meta, blobs, listener) => {
      const exchange = exchanges.begin(listener);
      const ended = exit();
      if (ended === undefined) process.send(FrameType.call, exchange.call, meta, blobs);
      else exchanges.end(ended);
      return exchange;
    },
    imports,
    importWhileIdle: (request) => {
      const end = imports.begin(request.modules.map(({ name }) => name));
      if (exit() === undefined) process.send(FrameType.imports, 0, request, []);
      else imports.processEnded();
      return end;
    },
    cancel: ({ call }) => process.send(FrameType.cancel, call, {}, []),
    finish: (exchange) => exchanges.finish(exchange),
    redirectIdleOutput: (receive) => exchanges.redirectIdleOutput(receive),
    consumeIdleOutput: () => {
      process.drain();
      return exchanges.consumeIdleOutput();
    },
  };
});
