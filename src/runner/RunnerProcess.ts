import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { Duplex } from "node:stream";

import {
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Layer,
  Option,
  Result,
  Schema,
  type Scope,
} from "effect";

import { codeOf } from "../platform/ErrorCode.ts";
import { isWithin, volumeRoot } from "../platform/files/JobFolders.ts";
import { shellStart } from "../platform/programs/ShellStart.ts";
import { RUNNER } from "./PythonSources.ts";
import { type AppConfig, FrameType, type RunnerConfig } from "./RunnerProtocol.ts";
import { OutputCapture } from "./output/OutputCapture.ts";
import { OutputPipes } from "./output/OutputPipes.ts";
import {
  type ControlChannel,
  controlChannel,
  type FrameListener,
} from "./process/ControlChannel.ts";
import { killTree, markedEnvironment } from "./process/ProcessTree.ts";

/** The limit for the output of a runner that fails to start. */
const BOOT_OUTPUT_BYTES = 64 * 1024;

/** The time for a runner's exit handlers, before it is killed. */
const EXIT_TIMEOUT = Duration.seconds(2);

/** The system could not start the interpreter. */
export class RunnerSpawnFailed extends Schema.TaggedError<RunnerSpawnFailed>()(
  "RunnerSpawnFailed",
  {
    command: Schema.String,
    /** An error code such as ENOENT. */
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
  /** Why the worker killed it, if it sent an invalid frame. */
  readonly fault?: string;
}

/** How an interpreter is started. */
export interface RunnerCommand {
  /** The path of the interpreter. */
  readonly python: string;
  readonly environment: Readonly<Record<string, string>>;
  /** The current directory of user code. */
  readonly directory: string;
  /** A private folder for pipes and sources. */
  readonly scratch: string;
}

/** What a runner needs before it becomes ready. */
export interface RunnerSetup {
  readonly maxInstances: number;
  /** How long an instance is kept while nobody calls it. */
  readonly instanceIdle: Option.Option<Duration.Duration>;
  /** The deployed app that the process serves; `directory` is its folder. */
  readonly app?: AppConfig;
}

/** Receives the events of a runner, synchronously and in order; it must not block. */
export interface RunnerListener extends FrameListener {
  readonly output: (bytes: Buffer) => void;
  /** Called after all of its output, when it exited or is being killed because of an invalid frame. */
  readonly exit: (exit: RunnerExit) => void;
}

/** A running Python runner, owned by the scope that it was started in. */
export interface RunnerProcess {
  readonly pid: number;
  /** Sends the configuration. The runner waits for it before it becomes ready. */
  readonly configure: (setup: RunnerSetup) => void;
  readonly send: ControlChannel["send"];
  /** Opens the next named pipe for the output; false if it can't be opened. */
  readonly attach: () => boolean;
  /** Sends all output that was written so far to the listener. */
  readonly drain: () => void;
  /** Asks the running code to stop: SIGINT to the runner only, since later calls may need its child processes. */
  readonly interrupt: () => void;
  /** SIGKILL to the runner and all of its descendants. */
  readonly kill: () => void;
  /** Asks it to exit, so that exit handlers run, and then kills it. */
  readonly end: Effect.Effect<void>;
  /** The output before the first named pipe. */
  readonly bootOutput: () => string;
}

/** A spawned child process and the worker's end of its control socket. */
interface Spawned {
  readonly command: RunnerCommand;
  readonly child: ChildProcess;
  readonly pid: number;
  readonly control: Duplex;
  /** The value of the environment variable that marks its descendants. */
  readonly mark: string;
}

const spawnFailed = ({ python, directory }: RunnerCommand, cause: unknown): RunnerSpawnFailed => {
  const code = codeOf(cause);
  // The system reports it as if the program were missing.
  const hasNoDirectory = code === "ENOENT" && !existsSync(directory);
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new RunnerSpawnFailed({
    command: python,
    code,
    reason: hasNoDirectory ? `the current directory ${directory} does not exist` : reason,
  });
};

const configOf = (
  { scratch, directory }: RunnerCommand,
  { maxInstances, instanceIdle, app }: RunnerSetup,
): RunnerConfig => ({
  dir: scratch,
  cwd: directory,
  parent: process.pid,
  maxInstances,
  instanceIdle: Option.match(instanceIdle, { onNone: () => 0, onSome: Duration.toSeconds }),
  ...(app === undefined ? {} : { app }),
});

const spawnChild = (command: RunnerCommand, mark: string, volume: string): ChildProcess => {
  const { python, directory, environment } = command;
  const isOnVolume = [python, directory].some((path) => isWithin(volume, path));
  const [program, args] = isOnVolume ? shellStart(directory, python, [RUNNER]) : [python, [RUNNER]];
  return spawn(program, args, {
    cwd: isOnVolume ? "/" : directory,
    env: markedEnvironment(environment, mark),
    detached: true,
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });
};

/** Connects a spawned process to its listener. */
const supervise = (
  { command, child, pid, control, mark }: Spawned,
  pipes: OutputPipes,
  listener: RunnerListener,
): RunnerProcess => {
  const { stdout, stderr } = child;
  const boot = new OutputCapture(BOOT_OUTPUT_BYTES);
  stdout?.on("data", (bytes: Buffer) => boot.write(bytes));
  stderr?.on("data", (bytes: Buffer) => boot.write(bytes));

  const kill = () => killTree(pid, mark);
  let isReported = false;
  const report = (exit: RunnerExit) => {
    if (isReported) return;
    isReported = true;
    pipes.drain();
    kill();
    listener.exit(exit);
  };
  const channel = controlChannel(control, listener, (fault) =>
    report({ code: undefined, signal: "SIGKILL", fault }),
  );
  const exited = Deferred.makeUnsafe<void>();
  const ended = (code: number | null, signal: string | null) => {
    report({ code: code ?? undefined, signal: signal ?? undefined });
    Deferred.doneUnsafe(exited, Exit.void);
  };
  // "close" waits for the last output of a failed start. After the start, a leftover child could delay it forever.
  child.once("exit", (code, signal) => {
    if (pipes.isAttached) ended(code, signal);
    else child.once("close", () => ended(code, signal));
  });

  return {
    pid,
    configure: (setup) => channel.send(FrameType.config, 0, configOf(command, setup), []),
    send: channel.send,
    attach: () => pipes.attach(listener.output),
    drain: () => pipes.drain(),
    interrupt: () => {
      Result.try(() => process.kill(pid, "SIGINT"));
    },
    kill,
    end: Effect.gen(function* () {
      channel.send(FrameType.bye, 0, {}, []);
      yield* Effect.timeoutOption(Deferred.await(exited), EXIT_TIMEOUT);
      kill();
      channel.close();
      for (const stream of [stdout, stderr]) stream?.destroy();
    }),
    bootOutput: () => boot.text(),
  };
};

/**
 * Starts a runner. Effect's `ChildProcess` with a duplex descriptor (`additionalFds`) can't be used here: its streams
 * copy every chunk through two more buffers, which halves the bandwidth of large results; it reports the signal that
 * ended a process only in the text of an error; it does not distinguish "exit" from "close"; and its scope waits up to
 * a second for zombies of the process group. All listeners are attached in one callback, before the first event.
 */
const start = (
  command: RunnerCommand,
  pipes: OutputPipes,
  listener: RunnerListener,
  volume: string,
) =>
  Effect.callback<RunnerProcess, RunnerSpawnFailed>((resume) => {
    const mark = randomUUID();
    const spawned = Result.try({
      try: () => spawnChild(command, mark, volume),
      catch: (cause) => spawnFailed(command, cause),
    });
    if (Result.isFailure(spawned)) return resume(Effect.fail(spawned.failure));
    const child = spawned.success;
    child.once("error", (cause) => resume(Effect.fail(spawnFailed(command, cause))));
    const control = child.stdio[3];
    const { pid } = child;
    if (pid === undefined || !(control instanceof Duplex)) return;
    const runner = supervise({ command, child, pid, control, mark }, pipes, listener);
    child.once("spawn", () => resume(Effect.succeed(runner)));
  });

/** Starts Python runners. */
export class RunnerProcesses extends Context.Service<
  RunnerProcesses,
  {
    /** Starts a runner, which is killed with all of its descendants when the scope closes. */
    readonly spawn: (
      command: RunnerCommand,
      listener: RunnerListener,
    ) => Effect.Effect<RunnerProcess, RunnerSpawnFailed, Scope.Scope>;
  }
>()("worker-tetra/runner/RunnerProcesses") {
  static readonly layer: Layer.Layer<RunnerProcesses> = Layer.succeed(
    RunnerProcesses,
    RunnerProcesses.of({
      spawn: Effect.fnUntraced(function* (command, listener) {
        const open = Effect.try({
          try: () => new OutputPipes(command.scratch),
          catch: (cause) => spawnFailed(command, cause),
        });
        const pipes = yield* Effect.acquireRelease(open, (opened) =>
          Effect.sync(() => opened.close()),
        );
        const volume = yield* volumeRoot;
        return yield* Effect.acquireRelease(
          start(command, pipes, listener, volume),
          (runner) => runner.end,
        );
      }),
    }),
  );
}
