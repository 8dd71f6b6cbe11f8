import type { Readable } from "node:stream";

import { NodeStream } from "@effect/platform-node";
import { Clock, Context, Deferred, Duration, Effect, Layer, Schema, Stream } from "effect";

import { Environment } from "../settings/Environment.ts";
import { BoundedOutput } from "./BoundedOutput.ts";
import { liveLog } from "./LiveLog.ts";
import { FAILURE_LIMIT, failureText, OUTPUT_LIMIT, fullText } from "./ProgramOutput.ts";
import { findProgram, programFolders } from "./ProgramPath.ts";
import { spawnProgram } from "./SpawnedProgram.ts";
import { jobFolders } from "./files/JobFolders.ts";

/** A program could not be run, or said that it failed. */
export class ProgramFailed extends Schema.TaggedError<ProgramFailed>()("ProgramFailed", {
  command: Schema.String,
  args: Schema.Array(Schema.String),
  /** Absent when it did not run at all, or was ended by a signal. */
  exitCode: Schema.optionalKey(Schema.Int),
  /** What it wrote, stderr before stdout, without secrets; of much of it the beginning and the end. */
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
  /** The lines of this stream go to the log as they come, at most 200 a second, with a name before each. */
  readonly live?: { readonly stream: "stdout" | "stderr"; readonly name: string };
}

/** Time that a program has to end after SIGTERM, before it gets SIGKILL. */
const TERMINATION_GRACE = Duration.seconds(5);

/** SIGKILL takes effect at once, unless the program is stuck in a driver, as nvidia-smi may be. */
const MAX_KILL_WAIT = Duration.seconds(5);

/** Time to read what a program wrote after it ended: a process that it left behind may keep its output open. */
const MAX_OUTPUT_WAIT = Duration.seconds(1);

/** A program that is ended, with all that it started, when the scope closes. */
const runningProgram = (...given: Parameters<typeof spawnProgram>) =>
  Effect.acquireRelease(spawnProgram(...given), ({ child, exited, signal }) =>
    Effect.gen(function* () {
      if (!Deferred.isDoneUnsafe(exited)) {
        signal("SIGTERM");
        yield* Effect.timeoutOption(Deferred.await(exited), TERMINATION_GRACE);
        signal("SIGKILL");
        yield* Effect.timeoutOption(Deferred.await(exited), MAX_KILL_WAIT);
      }
      child.stdout?.destroy();
      child.stderr?.destroy();
    }),
  );

/** Calls `write` with every piece of a stream, to its end. */
const readAll = <R>(
  stream: Readable | null,
  write: (bytes: Buffer) => Effect.Effect<void, never, R>,
) =>
  stream === null
    ? Effect.void
    : Stream.runForEach(
        NodeStream.fromReadable<Buffer, string>({ evaluate: () => stream, onError: String }),
        write,
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
>()("worker-tetra/platform/Programs") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const environment = yield* Environment;
      const { forPrograms, mask } = environment;
      const folders = programFolders(forPrograms["PATH"], yield* jobFolders);

      /** Runs a program to its end. Fails with a reason if it can't be started. */
      const runToEnd = Effect.fnUntraced(function* (
        command: string,
        args: ReadonlyArray<string>,
        { directory, descriptor, environment: additions, live }: ProgramOptions,
      ) {
        const program = findProgram(command, folders);
        if (program === undefined) {
          return yield* Effect.fail(`spawn ${command} ENOENT: it is in no folder of PATH`);
        }
        const log =
          live === undefined ? undefined : liveLog(live.name, environment, yield* Clock.Clock);
        const stdout = new BoundedOutput(OUTPUT_LIMIT);
        const stderr = new BoundedOutput(FAILURE_LIMIT);
        const { child, exited } = yield* runningProgram(program, args, {
          // Programs that it starts by name must not come from a job's environment either.
          environment: { ...forPrograms, ...additions, PATH: folders.join(":") },
          directory,
          descriptor,
          stdout: "pipe",
        });
        const capture = (name: "stdout" | "stderr", kept: BoundedOutput) => {
          const lines = live?.stream === name ? log : undefined;
          return readAll(child[name], (bytes) => {
            kept.write(bytes);
            return lines?.write(bytes) ?? Effect.void;
          }).pipe(Effect.ensuring(lines?.end ?? Effect.void));
        };
        const exitCode = Deferred.await(exited);
        yield* Effect.raceFirst(
          Effect.all([capture("stdout", stdout), capture("stderr", stderr)], {
            concurrency: "unbounded",
          }),
          Effect.andThen(exitCode, Effect.sleep(MAX_OUTPUT_WAIT)),
        );
        return { code: yield* exitCode, stdout, stderr };
      }, Effect.scoped);

      const run = Effect.fn("Programs.run")(function* (
        command: string,
        args: ReadonlyArray<string>,
        options: ProgramOptions = {},
      ) {
        const failed = (output: string, exitCode?: number) =>
          new ProgramFailed({
            command,
            args: args.map(mask),
            output: mask(output),
            ...(exitCode === undefined ? {} : { exitCode }),
          });
        const { code, stdout, stderr } = yield* Effect.mapError(
          runToEnd(command, args, options),
          (reason) => failed(reason),
        );
        if (code === 0) return fullText(stdout);
        return yield* failed(failureText(stderr) + failureText(stdout), code);
      });

      return Programs.of({ run });
    }),
  );
}
