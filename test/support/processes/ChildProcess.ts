import { type ChildProcess, spawn } from "node:child_process";

import { Deferred, Effect, Exit, Result } from "effect";

import { makeCondition } from "../effects/Condition.ts";

export interface ProcessOptions {
  readonly directory?: string;
  /** All environment variables; those of the tests by default. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Written to stdin, which then ends. */
  readonly input?: string;
  /** Keeps stdin open until the tests' process ends. */
  readonly hasOpenStdin?: boolean;
  /** Starts a process group, as a shell does for a command: Ctrl-C sends a signal to all its members. */
  readonly leadsGroup?: boolean;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The match and its groups. */
type Match = ReadonlyArray<string>;

const matchOf = (text: string, pattern: string | RegExp): Match | null =>
  typeof pattern === "string" ? (text.includes(pattern) ? [pattern] : null) : pattern.exec(text);

/** Sends a signal to all processes of a group. Ignores groups that have ended. */
const signalGroup = ({ pid }: ChildProcess, name: NodeJS.Signals): void => {
  if (pid !== undefined) Result.try(() => process.kill(-pid, name));
};

const spawnWith = (command: string, args: ReadonlyArray<string>, options: ProcessOptions) => {
  const hasStdin = options.input !== undefined || options.hasOpenStdin === true;
  const child = spawn(command, args, {
    cwd: options.directory,
    env: options.environment ?? process.env,
    stdio: [hasStdin ? "pipe" : "ignore", "pipe", "pipe"],
    detached: options.leadsGroup ?? false,
  });
  // The process may end before it has read its input.
  child.stdin?.on("error", () => {});
  if (options.input !== undefined) child.stdin?.end(options.input);
  return child;
};

/** Starts a program and captures its output. Kills it when the scope closes. */
export const startProcess = Effect.fnUntraced(function* (
  command: string,
  args: ReadonlyArray<string>,
  options: ProcessOptions = {},
) {
  const ended = Deferred.makeUnsafe<Ended>();
  const output = { stdout: "", stderr: "" };
  let isClosed = false;
  const { notify, until } = makeCondition();
  const find = (pattern: string | RegExp) =>
    matchOf(output.stdout, pattern) ?? matchOf(output.stderr, pattern);
  const describe = (what: string, pattern: string | RegExp) =>
    new Error(`${command} ${what} ${pattern}:\n${output.stdout}\n${output.stderr}`);
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => spawnWith(command, args, options)),
    (started) =>
      Effect.andThen(
        Effect.sync(() =>
          options.leadsGroup === true ? signalGroup(started, "SIGKILL") : started.kill("SIGKILL"),
        ),
        // A process that waits for a file system that does not respond ends only when that responds or is gone.
        Effect.timeoutOption(Deferred.await(ended), "5 seconds"),
      ),
  );
  for (const name of ["stdout", "stderr"] as const) {
    child[name]?.on("data", (bytes: Buffer) => {
      output[name] += bytes.toString();
      notify();
    });
  }
  child.once("error", (error) => (output.stderr += `${error.message}\n`));
  child.once("close", (code, signal) => {
    isClosed = true;
    Deferred.doneUnsafe(ended, Exit.succeed({ code, signal }));
    notify();
  });
  return {
    pid: child.pid ?? 0,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    /** Waits until stdout or stderr contains the pattern; returns the match and its groups. */
    wrote: Effect.fnUntraced(function* (pattern: string | RegExp) {
      yield* until(() => isClosed || find(pattern) !== null).pipe(
        Effect.timeoutOrElse({
          duration: "100 seconds",
          orElse: () => Effect.die(describe("has not written", pattern)),
        }),
      );
      const match = find(pattern);
      if (match === null) return yield* Effect.die(describe("ended before it wrote", pattern));
      return match;
    }),
    signal: (name: NodeJS.Signals) => Effect.sync(() => void child.kill(name)),
    signalGroup: (name: NodeJS.Signals) => Effect.sync(() => signalGroup(child, name)),
    ended: Deferred.await(ended),
  };
});

/** Runs a program to its end. */
export const runProcess = (
  command: string,
  args: ReadonlyArray<string>,
  options: ProcessOptions = {},
) =>
  Effect.gen(function* () {
    const { ended, stdout, stderr } = yield* startProcess(command, args, options);
    const { code, signal } = yield* ended;
    return { code, signal, stdout: stdout(), stderr: stderr() };
  }).pipe(Effect.scoped);

/** Runs a program and returns its stdout. If it fails, dies with its output. */
export const stdoutOf = (
  command: string,
  args: ReadonlyArray<string>,
  options: ProcessOptions = {},
) =>
  Effect.flatMap(runProcess(command, args, options), ({ code, stdout, stderr }) =>
    code === 0
      ? Effect.succeed(stdout)
      : Effect.die(new Error(`${command} ${args.join(" ")}\n${stdout}\n${stderr}`)),
  );
