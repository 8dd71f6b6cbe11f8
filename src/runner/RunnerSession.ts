import { randomInt } from "node:crypto";
import { tmpdir } from "node:os";

import { Deferred, Effect, Exit, FileSystem, Option, Schema, type Scope } from "effect";

import { diskFault } from "../platform/files/DiskFault.ts";
import {
  type RunnerCommand,
  type RunnerExit,
  type RunnerProcess,
  RunnerProcesses,
  type RunnerSpawnFailed,
} from "./RunnerProcess.ts";
import { type Frame, FrameType, nothingPending, Ready } from "./RunnerProtocol.ts";
import { OutputCapture } from "./output/OutputCapture.ts";

/** How long a fresh interpreter may take until it is ready; a cold network volume is slow. */
const BOOT_LIMIT = { seconds: 120 };

/** What is kept of what leftover threads write between calls, in bytes. */
const IDLE_OUTPUT_LIMIT = 64 * 1024;

/** Numbers of calls are below this: they have 32 bits in a frame. */
const CALL_NUMBERS = 2 ** 32;

/** The runner's exit code when cloudpickle can't be imported. */
const CLOUDPICKLE_MISSING = 3;

/** A runner was started but never became ready. */
export class BootFailed extends Schema.TaggedError<BootFailed>()("BootFailed", {
  reason: Schema.String,
  output: Schema.String,
  /** It ended on its own account, so its environment may be at fault; a signal or a time-out says nothing. */
  exitCode: Schema.optionalKey(Schema.Finite),
}) {
  override get message(): string {
    return `the runner ${this.reason}`;
  }

  /** Python itself ran, and only a package of the environment was missing. */
  get cloudpickleMissing(): boolean {
    return this.exitCode === CLOUDPICKLE_MISSING;
  }
}

/** How an exchange ended: with an answer, or with the process. */
export type ExchangeEnd =
  | { readonly answer: Frame; readonly exit?: never }
  | { readonly exit: RunnerExit; readonly answer?: never };

/** How large the values of an exchange's frames may be, in bytes; no chunks where there is no limit for them. */
interface ValueLimits {
  readonly result: number;
  readonly chunk?: number | undefined;
}

/** One request to the runner; there is one at a time. */
export interface Exchange {
  readonly call: number;
  readonly limits: ValueLimits;
  /** Whether its outcome is known; anything that arrives later is ignored. */
  isAnswered: boolean;
  readonly end: Deferred.Deferred<ExchangeEnd>;
  readonly output: (bytes: Buffer) => void;
  readonly chunk: (frame: Frame) => void;
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
    hooks: Pick<Exchange, "limits" | "output" | "chunk">,
  ) => Exchange;
  /** The exchange is over, whatever came of it. */
  readonly finish: () => void;
  /** What was written while no call was running, and forgets it. */
  readonly takeIdleOutput: () => string;
}

const decodeReady = Schema.decodeUnknownOption(Ready);

/** Starts a runner in the scope and waits until it is ready. */
export const boot = Effect.fn("RunnerSession.boot")(function* (
  command: Omit<RunnerCommand, "scratch">,
): Effect.fn.Return<
  RunnerSession,
  BootFailed | RunnerSpawnFailed,
  RunnerProcesses | FileSystem.FileSystem | Scope.Scope
> {
  const processes = yield* RunnerProcesses;
  const files = yield* FileSystem.FileSystem;
  const scratch = yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-" }).pipe(
    Effect.mapError(
      (error) =>
        new BootFailed({
          reason: `has no temporary folder to work in. ${diskFault(tmpdir(), "can't be written to")(error).message} TMPDIR can name another folder`,
          output: "",
        }),
    ),
  );

  let current: Exchange | undefined;
  /** The previous exchange: if a job forges the runner's answer, the real one arrives later. */
  let previous: Pick<Exchange, "call" | "limits"> | undefined;
  let ended: RunnerExit | undefined;
  let isReady = false;
  let idle = new OutputCapture(IDLE_OUTPUT_LIMIT);
  const readyFrame = yield* Deferred.make<Option.Option<Frame>>();
  const settle = (end: ExchangeEnd) => {
    if (current !== undefined) Deferred.doneUnsafe(current.end, Exit.succeed(end));
  };
  const runner = yield* processes.spawn(
    { ...command, scratch },
    {
      limitOf: (type, call) => {
        if (type === FrameType.ready) return isReady ? undefined : 0;
        const limits = [current, previous].find((exchange) => exchange?.call === call)?.limits;
        if (type === FrameType.chunk) return limits?.chunk;
        return type === FrameType.result ? limits?.result : undefined;
      },
      frame: (frame) => {
        if (frame.type === FrameType.ready) {
          isReady = true;
          Deferred.doneUnsafe(readyFrame, Exit.succeed(Option.some(frame)));
        } else if (frame.call === current?.call && !current.isAnswered) {
          if (frame.type === FrameType.chunk) return current.chunk(frame);
          current.isAnswered = true;
          // All that the call wrote is in the pipe by now, if it was not read before.
          if (!nothingPending(frame.meta)) runner.drain();
          settle({ answer: frame });
        }
      },
      output: (bytes) => (current === undefined ? idle.write(bytes) : current.output(bytes)),
      exit: (exit) => {
        ended = exit;
        Deferred.doneUnsafe(readyFrame, Exit.succeed(Option.none()));
        settle({ exit });
      },
    },
  );

  const frame = yield* Effect.timeoutOption(Deferred.await(readyFrame), BOOT_LIMIT);
  if (Option.isNone(frame)) {
    return yield* new BootFailed({
      reason: `was not ready after ${BOOT_LIMIT.seconds} seconds: the disk or the machine is very slow, or overloaded`,
      output: runner.bootOutput(),
    });
  }
  const ready = Option.flatMap(frame.value, ({ meta }) => decodeReady(meta));
  if (Option.isNone(ready)) {
    const { code, signal } = ended ?? { code: undefined, signal: undefined };
    return yield* new BootFailed({
      reason:
        signal === undefined
          ? `ended before it was ready, with exit code ${code ?? "unknown"}`
          : `was killed by ${signal} before it was ready`,
      output: runner.bootOutput(),
      ...(code === undefined ? {} : { exitCode: code }),
    });
  }
  if (!runner.attach()) {
    return yield* new BootFailed({
      reason: `has an output that can't be opened (in ${scratch})`,
      output: runner.bootOutput(),
    });
  }

  return {
    ready: ready.value,
    process: runner,
    exit: () => ended,
    begin: (meta, blobs, hooks) => {
      // Random, so that a job can't forge the answer to a later call in advance.
      const call = randomInt(CALL_NUMBERS);
      const exchange: Exchange = {
        call,
        end: Deferred.makeUnsafe(),
        isAnswered: false,
        ...hooks,
      };
      current = exchange;
      if (ended === undefined) runner.send(FrameType.call, call, meta, blobs);
      else settle({ exit: ended });
      return exchange;
    },
    finish: () => {
      previous = current === undefined ? undefined : { call: current.call, limits: current.limits };
      current = undefined;
    },
    takeIdleOutput: () => {
      runner.drain();
      const text = idle.text();
      if (text !== "") idle = new OutputCapture(IDLE_OUTPUT_LIMIT);
      return text;
    },
  };
});
