import { spawn } from "node:child_process";
import type { Readable } from "node:stream";

import { NodeStream } from "@effect/platform-node";
import { Context, Deferred, Effect, Exit, Layer, Result, Schema, Stream } from "effect";

import { Environment } from "../settings/Environment.ts";
import { withoutCredentials } from "./Address.ts";

/** A program could not be run, or said that it failed. */
export class ProgramFailed extends Schema.TaggedError<ProgramFailed>()("ProgramFailed", {
  command: Schema.String,
  args: Schema.Array(Schema.String),
  /** Absent when it did not run at all, or was ended by a signal. */
  exitCode: Schema.optionalKey(Schema.Int),
  /** What it wrote, stdout and stderr together. */
  output: Schema.String,
}) {
  override get message(): string {
    const how =
      this.exitCode === undefined ? "did not run to its end" : `exited with ${this.exitCode}`;
    return `${[this.command, ...this.args].join(" ")} ${how}: ${this.output.trim()}`;
  }
}

export interface ProgramOptions {
  readonly directory?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** An open file that the program inherits: a lock on it stays until the program is gone too. */
  readonly descriptor?: number;
  /** The lines of this stream go to the log as they come, with a name before each. */
  readonly live?: { readonly stream: "stdout" | "stderr"; readonly name: string };
}

/** How long a program may take to end when it is told to, in seconds. */
const FAREWELL = 5;

/** What a program left behind may hold its output open for ever; so long is waited for last words: seconds. */
const LAST_WORDS = 1;

interface Running {
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** The exit code; none when a signal ended it. */
  readonly ended: Deferred.Deferred<number | undefined>;
  readonly signal: (name: NodeJS.Signals) => void;
}

/** Effect's own processes can't hand down an open file. */
const start = (
  command: string,
  args: ReadonlyArray<string>,
  environment: Readonly<Record<string, string>>,
  { directory, descriptor }: ProgramOptions,
) =>
  Effect.callback<Running, string>((resume) => {
    const failed = (error: unknown) =>
      resume(Effect.fail(error instanceof Error ? error.message : String(error)));
    const spawned = Result.try(() =>
      spawn(command, args, {
        env: environment,
        cwd: directory,
        // A group of its own: a signal that is meant for the worker does not end an install half-way.
        detached: true,
        stdio: ["ignore", "pipe", "pipe", ...(descriptor === undefined ? [] : [descriptor])],
      }),
    );
    if (Result.isFailure(spawned)) return failed(spawned.failure);
    const child = spawned.success;
    const ended = Deferred.makeUnsafe<number | undefined>();
    child.once("error", failed);
    child.once("exit", (code) => Deferred.doneUnsafe(ended, Exit.succeed(code ?? undefined)));
    const { pid, stdout, stderr } = child;
    if (pid === undefined || stdout === null || stderr === null) return;
    const signal = (name: NodeJS.Signals) => {
      Result.try(() => process.kill(-pid, name));
    };
    child.once("spawn", () => resume(Effect.succeed({ stdout, stderr, ended, signal })));
  });

/** A program that is told to end, and then made to, when nobody waits for it any more. */
const running = (...of: Parameters<typeof start>) =>
  Effect.acquireRelease(start(...of), ({ stdout, stderr, ended, signal }) =>
    Effect.gen(function* () {
      if (!Deferred.isDoneUnsafe(ended)) {
        signal("SIGTERM");
        yield* Effect.timeoutOption(Deferred.await(ended), { seconds: FAREWELL });
        signal("SIGKILL");
        yield* Deferred.await(ended);
      }
      stdout.destroy();
      stderr.destroy();
    }),
  );

const text = (stream: Readable) =>
  Stream.decodeText(
    NodeStream.fromReadable<Uint8Array, string>({ evaluate: () => stream, onError: String }),
  );

/** Runs plain programs to their end, in the environment that is meant for them. */
export class Programs extends Context.Service<
  Programs,
  {
    /** What it wrote to stdout, when it succeeds. Interrupting ends it, with all that it started. */
    readonly run: (
      command: string,
      args: ReadonlyArray<string>,
      options?: ProgramOptions,
    ) => Effect.Effect<string, ProgramFailed>;
  }
>()("worker-tetra/workspace/Programs") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const { forPrograms, mask } = yield* Environment;
      const shown = (text: string) => withoutCredentials(mask(text));

      const run: Programs["Service"]["run"] = Effect.fn("Programs.run")(function* (
        command,
        args,
        options = {},
      ) {
        const failed = (output: string, exitCode?: number) =>
          new ProgramFailed({
            command,
            args: args.map(shown),
            output: shown(output),
            ...(exitCode === undefined ? {} : { exitCode }),
          });
        const written = { stdout: "", stderr: "" };
        /** Keeps what a stream brings, and tells of it line by line. */
        const follow = (name: "stdout" | "stderr", stream: Readable) =>
          text(stream).pipe(
            Stream.tap((part) =>
              Effect.sync(() => {
                written[name] += part;
              }),
            ),
            Stream.splitLines,
            Stream.filter((line) => line.trim() !== ""),
            Stream.runForEach((line) =>
              options.live?.stream === name
                ? Effect.logInfo(`${options.live.name}: ${shown(line.trim())}`)
                : Effect.void,
            ),
          );
        return yield* Effect.gen(function* () {
          const environment = { ...forPrograms, ...options.environment };
          const { stdout, stderr, ended } = yield* running(command, args, environment, options);
          const exitCode = Deferred.await(ended);
          yield* Effect.raceFirst(
            Effect.all([follow("stdout", stdout), follow("stderr", stderr)], {
              concurrency: "unbounded",
            }),
            Effect.andThen(exitCode, Effect.sleep({ seconds: LAST_WORDS })),
          );
          const code = yield* exitCode;
          if (code === 0) return written.stdout;
          return yield* failed(written.stderr + written.stdout, code);
        }).pipe(
          Effect.scoped,
          Effect.catchIf(
            (error) => typeof error === "string",
            (reason) => Effect.fail(failed(reason)),
          ),
        );
      });

      return Programs.of({ run });
    }),
  );
}
