import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync } from "node:fs";
import { Duplex } from "node:stream";

import { Context, Deferred, Effect, Exit, Layer, Result, Schema, type Scope } from "effect";

import { RUNNER } from "./PythonSources.ts";
import { encode, FrameReader, FrameType, type Frame } from "./RunnerProtocol.ts";
import { OutputCapture } from "./output/OutputCapture.ts";
import { OutputPipe } from "./output/OutputPipe.ts";

/** Marks everything that descends from one runner, wherever it went, by its environment. */
const MARK = "WORKER_TETRA_RUNNER";

/** What is kept of the words of a runner that fails to start, in bytes. */
const BOOT_OUTPUT_LIMIT = 64 * 1024;

/** The most bytes that Node reads from a socket at once, into a new buffer. */
const READ_SIZE = 64 * 1024;

/** How long a runner may take for its exit handlers once it is told to end. */
const FAREWELL = "2 seconds";

/** The interpreter could not even be started. */
export class RunnerSpawnFailed extends Schema.TaggedError<RunnerSpawnFailed>()(
  "RunnerSpawnFailed",
  {
    command: Schema.String,
    /** The system's name for the reason, such as ENOENT. */
    code: Schema.String,
    reason: Schema.String,
  },
) {
  override get message(): string {
    return `${this.command} could not be started: ${this.reason}.`;
  }
}

/** How a process ended: by an exit code, or by a signal. */
export interface RunnerExit {
  readonly code: number | undefined;
  readonly signal: string | undefined;
  /** Why the worker killed it, if it sent an invalid message. */
  readonly fault?: string;
}

export interface RunnerCommand {
  /** The interpreter. */
  readonly python: string;
  readonly environment: Readonly<Record<string, string>>;
  /** The current directory of user code. */
  readonly directory: string;
  /** A private folder for pipes and sources. */
  readonly scratch: string;
  readonly maxInstances: number;
  /** Seconds; 0 for no limit. */
  readonly instanceIdle: number;
}

/** Who hears of what the runner does; called at once and in order, so it must not block. */
export interface RunnerListener {
  /** The most bytes that the value of such a frame may have now; undefined if no such frame is expected. */
  readonly limitOf: (type: number, call: number) => number | undefined;
  readonly frame: (frame: Frame) => void;
  readonly output: (bytes: Buffer) => void;
  /** It has exited, or is being killed for an invalid message, and all of its output was delivered. */
  readonly exit: (exit: RunnerExit) => void;
}

/** A running Python runner, owned by the scope that it was started in. */
export interface RunnerProcess {
  readonly pid: number;
  readonly send: (
    type: number,
    call: number,
    meta: object,
    blobs: ReadonlyArray<Uint8Array>,
  ) => void;
  /** Switches to the next named pipe for the output; false if it can't be opened. */
  readonly attach: () => boolean;
  /** Hands all output that was written so far to the listener. */
  readonly drain: () => void;
  /** Asks the code that runs to stop: SIGINT to the runner alone, its children may be needed yet. */
  readonly interrupt: () => void;
  /** SIGKILL to the runner and everything that descends from it. */
  readonly kill: () => void;
  /** Ends it: with a word first, so that exit handlers run, then by force. */
  readonly end: Effect.Effect<void>;
  /** What it said before its output went to the pipe. */
  readonly bootOutput: () => string;
}

const killPid = (pid: number) => Result.try(() => process.kill(pid, "SIGKILL"));

/** Processes that left the group (daemons) still carry the mark in their environment. */
const killMarked = (mark: string): void => {
  const entries = Result.getOrElse(
    Result.try(() => readdirSync("/proc")),
    (): ReadonlyArray<string> => [],
  );
  for (const entry of entries) {
    if (!/^\d+$/.test(entry)) continue;
    const environment = Result.try(() => readFileSync(`/proc/${entry}/environ`, "latin1"));
    if (Result.isSuccess(environment) && environment.success.includes(`${MARK}=${mark}`)) {
      killPid(Number(entry));
    }
  }
};

/**
 * The folder of a runner's pipes, as a path through an open descriptor: it stays valid if a job moves the folder and
 * puts a link in its place.
 */
const pinnedFolder = (folder: string): { readonly path: string; readonly close: () => void } => {
  if (!existsSync("/proc/self/fd")) return { path: folder, close: () => {} };
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  return { path: `/proc/self/fd/${fd}`, close: () => closeSync(fd) };
};

const start = (command: RunnerCommand, listener: RunnerListener) =>
  Effect.callback<RunnerProcess, RunnerSpawnFailed>((resume) => {
    const mark = randomUUID();
    const config = JSON.stringify({
      dir: command.scratch,
      cwd: command.directory,
      parent: process.pid,
      maxInstances: command.maxInstances,
      instanceIdle: command.instanceIdle,
    });
    const failed = (cause: unknown) => {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const code = cause instanceof Error && "code" in cause ? String(cause.code) : "UNKNOWN";
      resume(Effect.fail(new RunnerSpawnFailed({ command: command.python, code, reason })));
    };
    const opened = Result.try({
      try: () => pinnedFolder(command.scratch),
      catch: (cause) => cause,
    });
    if (Result.isFailure(opened)) return failed(opened.failure);
    const folder = opened.success;
    const spawned = Result.try({
      try: () =>
        spawn(command.python, [RUNNER, config], {
          cwd: command.directory,
          env: { ...command.environment, [MARK]: mark },
          detached: true,
          stdio: ["ignore", "pipe", "pipe", "pipe"],
        }),
      catch: (cause) => cause,
    });
    if (Result.isFailure(spawned)) {
      folder.close();
      return failed(spawned.failure);
    }
    const child = spawned.success;
    child.once("error", (cause) => {
      folder.close();
      failed(cause);
    });
    const control = child.stdio[3];
    const { pid, stdout, stderr } = child;
    if (pid === undefined || !(control instanceof Duplex)) return;

    const boot = new OutputCapture(BOOT_OUTPUT_LIMIT);
    stdout?.on("data", (bytes: Buffer) => boot.write(bytes));
    stderr?.on("data", (bytes: Buffer) => boot.write(bytes));

    const exited = Deferred.makeUnsafe<void>();
    const pipes: Array<OutputPipe> = [];
    const kill = () => {
      killPid(-pid);
      killMarked(mark);
    };
    const drain = () => pipes.at(-1)?.drain();

    let fault: string | undefined;
    const reader = new FrameReader(listener.limitOf);
    control.on("data", (bytes: Buffer) => {
      for (const frame of reader.read(bytes)) {
        if (Result.isSuccess(frame)) {
          listener.frame(frame.success);
          continue;
        }
        // Any code in the process may have written this; later frames can't be trusted.
        fault = frame.failure.reason;
        control.destroy();
        report(null, "SIGKILL");
      }
      // The reader keeps no reference. Without this, garbage would grow to the size of a large result.
      if (bytes.byteLength === READ_SIZE && bytes.buffer instanceof ArrayBuffer) {
        bytes.buffer.transfer(0);
      }
    });
    // A runner that ends closes the socket, and its exit says why.
    control.on("error", () => {});
    let isReported = false;
    const report = (code: number | null, signal: string | null) => {
      if (isReported) return;
      isReported = true;
      drain();
      kill();
      listener.exit({
        code: code ?? undefined,
        signal: signal ?? undefined,
        ...(fault === undefined ? {} : { fault }),
      });
    };
    const ended = (code: number | null, signal: string | null) => {
      report(code, signal);
      Deferred.doneUnsafe(exited, Exit.void);
    };
    // "close" waits for the words of a failed start; later a leftover child could hold it up for ever.
    child.once("exit", (code, signal) => {
      if (pipes.length > 0) ended(code, signal);
      else child.once("close", () => ended(code, signal));
    });

    const runner: RunnerProcess = {
      pid,
      send: (type, call, meta, blobs) => {
        if (control.destroyed) return;
        control.cork();
        for (const part of encode(type, call, meta, blobs)) control.write(part);
        control.uncork();
      },
      attach: () => {
        // The runner counts in the same way; a path that it sends could be any path.
        const path = `${folder.path}/output-${pipes.length + 1}`;
        const pipe = OutputPipe.attach(path, (bytes) => {
          // What comes through an earlier pipe was written by an earlier job's leftovers.
          if (Result.isSuccess(pipe) && pipes.at(-1) === pipe.success) listener.output(bytes);
        });
        if (Result.isFailure(pipe)) return false;
        pipes.push(pipe.success);
        return true;
      },
      drain,
      interrupt: () => {
        Result.try(() => process.kill(pid, "SIGINT"));
      },
      kill,
      end: Effect.gen(function* () {
        runner.send(FrameType.bye, 0, {}, []);
        yield* Effect.timeoutOption(Deferred.await(exited), FAREWELL);
        kill();
        for (const pipe of pipes) pipe.close();
        for (const stream of [control, stdout, stderr]) stream?.destroy();
        folder.close();
      }),
      bootOutput: () => boot.text(),
    };
    child.once("spawn", () => resume(Effect.succeed(runner)));
  });

/** Starts Python runners. */
export class RunnerProcesses extends Context.Service<
  RunnerProcesses,
  {
    /** A runner that is killed, with all that descends from it, when the scope closes. */
    readonly spawn: (
      command: RunnerCommand,
      listener: RunnerListener,
    ) => Effect.Effect<RunnerProcess, RunnerSpawnFailed, Scope.Scope>;
  }
>()("worker-tetra/execution/RunnerProcesses") {
  static readonly layer: Layer.Layer<RunnerProcesses> = Layer.succeed(
    RunnerProcesses,
    RunnerProcesses.of({
      spawn: (command, listener) =>
        Effect.acquireRelease(start(command, listener), (runner) => runner.end),
    }),
  );
}
