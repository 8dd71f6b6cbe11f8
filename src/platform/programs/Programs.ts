import type { Readable } from "node:stream";

import { NodeStream } from "@effect/platform-node";
import { Clock, Context, Deferred, Duration, Effect, Layer, Schema, Stream } from "effect";

import { Environment } from "../../settings/Environment.ts";
import { liveLog } from "../LiveLog.ts";
import { isWithin, jobFolders, volumeRoot } from "../files/JobFolders.ts";
import { BoundedOutput } from "./BoundedOutput.ts";
import { FAILURE_LIMIT, failureText, OUTPUT_LIMIT, fullText } from "./ProgramOutput.ts";
import { findProgram, programFolders } from "./ProgramPath.ts";
import { shellStart } from "./ShellStart.ts";
import { spawnProgram } from "./SpawnedProgram.ts";

/** A program could not be started, or did not exit with 0. */
export class ProgramFailed extends Schema.TaggedError<ProgramFailed>()("ProgramFailed", {
  command: Schema.String,
  args: Schema.Array(Schema.String),
  /** Absent if the program did not start or was killed by a signal. */
  exitCode: Schema.optionalKey(Schema.Int),
  /** Stderr, then stdout, with secrets masked; a long output is shortened in the middle. */
  output: Schema.String,
}) {
  override get message(): string {
    const how = this.exitCode === undefined ? "did not finish" : `exited with ${this.exitCode}`;
    return `${[this.command, ...this.args].join(" ")} ${how}: ${this.output.trim()}`;
  }
}

export interface ProgramOptions {
  readonly directory?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Logs the lines of this stream live, at most 200 a second, with this name as prefix. */
  readonly live?: { readonly stream: "stdout" | "stderr"; readonly name: string };
}

/** Time between SIGTERM and SIGKILL. */
const TERMINATION_GRACE = Duration.seconds(5);

/** A process that is stuck in a driver, as nvidia-smi may be, does not end at SIGKILL. */
const MAX_KILL_WAIT = Duration.seconds(5);

/** Time to read remaining output after a program ended: child processes that it left behind may keep the pipe open. */
const MAX_OUTPUT_WAIT = Duration.seconds(1);

/** Starts a program; when the scope closes, it is killed together with its child processes. */
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

/** Reads a stream to its end. */
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

/** Runs programs until they end, with the environment variables that are meant for programs. */
export class Programs extends Context.Service<
  Programs,
  {
    /** Returns stdout. Interruption kills the program and its child processes. */
    readonly run: (
      command: string,
      args: ReadonlyArray<string>,
      options?: ProgramOptions,
    ) => Effect.Effect<string, ProgramFailed>;
  }
>()("worker-tetra/platform/programs/Programs") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const environment = yield* Environment;
      const { forPrograms, mask } = environment;
      const folders = programFolders(forPrograms["PATH"], yield* jobFolders);
      const volume = yield* volumeRoot;

      /** Fails with a reason if the program can't be started. */
      const runToEnd = Effect.fnUntraced(function* (
        command: string,
        args: ReadonlyArray<string>,
        { directory, environment: additions, live }: ProgramOptions,
      ) {
        const program = findProgram(command, folders);
        if (program === undefined) {
          return yield* Effect.fail(`spawn ${command} ENOENT: not found on PATH`);
        }
        const log =
          live === undefined ? undefined : liveLog(live.name, environment, yield* Clock.Clock);
        const stdout = new BoundedOutput(OUTPUT_LIMIT);
        const stderr = new BoundedOutput(FAILURE_LIMIT);
        const isOnVolume = [program, directory ?? "."].some((path) => isWithin(volume, path));
        const [started, given] = isOnVolume
          ? shellStart(directory ?? ".", program, args)
          : [program, args];
        const { child, exited } = yield* runningProgram(started, given, {
          // Programs that it starts by name must not come from folders of jobs either.
          environment: { ...forPrograms, ...additions, PATH: folders.join(":") },
          directory: isOnVolume && directory !== undefined ? "/" : directory,
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
