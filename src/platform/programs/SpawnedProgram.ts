import { type ChildProcess, spawn } from "node:child_process";

import { Deferred, Effect, Exit, Result } from "effect";

export interface SpawnOptions {
  readonly environment: Readonly<Record<string, string>>;
  readonly directory?: string | undefined;
  readonly stdout: "pipe" | "ignore";
  /** An open file that the program inherits as descriptor 3. */
  readonly descriptor?: number | undefined;
}

export interface SpawnedProgram {
  readonly child: ChildProcess;
  /** The exit code; undefined if it was killed by a signal. */
  readonly exited: Deferred.Deferred<number | undefined>;
  /** Sends a signal to the program's process group. */
  readonly signal: (name: NodeJS.Signals) => void;
}

/**
 * Starts a program in its own process group, so that Ctrl-C, which is meant for the worker, does not interrupt an
 * install. Fails with Node's message if it can't be started.
 *
 * Effect's `ChildProcess` can't be used (as of 4.1): its `additionalFds` are always new pipes, but a program keeps a
 * lock only if it inherits the worker's descriptor.
 */
export const spawnProgram = (
  command: string,
  args: ReadonlyArray<string>,
  { environment, directory, stdout, descriptor }: SpawnOptions,
) =>
  Effect.callback<SpawnedProgram, string>((resume) => {
    const failed = (error: unknown) =>
      resume(Effect.fail(error instanceof Error ? error.message : String(error)));
    const spawned = Result.try(() =>
      spawn(command, args, {
        env: environment,
        cwd: directory,
        detached: true,
        stdio: ["ignore", stdout, "pipe", ...(descriptor === undefined ? [] : [descriptor])],
      }),
    );
    if (Result.isFailure(spawned)) return failed(spawned.failure);
    const child = spawned.success;
    const exited = Deferred.makeUnsafe<number | undefined>();
    child.once("error", failed);
    child.once("exit", (code) => Deferred.doneUnsafe(exited, Exit.succeed(code ?? undefined)));
    const { pid } = child;
    if (pid === undefined) return;
    const signal = (name: NodeJS.Signals) => {
      Result.try(() => process.kill(-pid, name));
    };
    child.once("spawn", () => resume(Effect.succeed({ child, exited, signal })));
  });
