import { Context, Effect, Layer, Option, Schema, Stream } from "effect";
import { ChildProcess, ChildProcessSpawner } from "effect/process";

import { Environment } from "../settings/Environment.ts";

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

/** Runs plain programs to their end, in the environment that is meant for them. */
export class Programs extends Context.Service<
  Programs,
  {
    /** What it wrote to stdout, when it succeeds. */
    readonly run: (
      command: string,
      args: ReadonlyArray<string>,
      options?: {
        readonly directory?: string;
        readonly environment?: Readonly<Record<string, string>>;
      },
    ) => Effect.Effect<string, ProgramFailed>;
  }
>()("worker-tetra/workspace/Programs") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const spawner = yield* ChildProcessSpawner.ChildProcessSpawner;
      const { forPrograms, mask } = yield* Environment;

      const run: Programs["Service"]["run"] = Effect.fn("Programs.run")(function* (
        command,
        args,
        options = {},
      ) {
        const failed = (output: string, exitCode?: number) =>
          new ProgramFailed({
            command,
            args: args.map(mask),
            output: mask(output),
            ...(exitCode === undefined ? {} : { exitCode }),
          });
        return yield* Effect.gen(function* () {
          const handle = yield* spawner.spawn(
            ChildProcess.make(command, args, {
              env: { ...forPrograms, ...options.environment },
              extendEnv: false,
              stdin: "ignore",
              ...(options.directory === undefined ? {} : { cwd: options.directory }),
            }),
          );
          const [stdout, stderr] = yield* Effect.all(
            [
              Stream.mkString(Stream.decodeText(handle.stdout)),
              Stream.mkString(Stream.decodeText(handle.stderr)),
            ],
            { concurrency: 2 },
          );
          const exitCode = yield* Effect.option(handle.exitCode);
          if (Option.contains(exitCode, ChildProcessSpawner.ExitCode(0))) return stdout;
          return yield* failed(stderr + stdout, Option.getOrUndefined(exitCode));
        }).pipe(
          Effect.scoped,
          Effect.catchTag("PlatformError", (error) => Effect.fail(failed(error.message))),
        );
      });

      return Programs.of({ run });
    }),
  );
}
