import { spawn } from "node:child_process";
import type { Readable } from "node:stream";

import { NodeStream } from "@effect/platform-node";
import { Clock, Context, Deferred, Effect, Exit, Layer, Result, Schema, Stream } from "effect";

import { Environment } from "../settings/Environment.ts";
import { excerpt } from "../settings/Excerpt.ts";
import { BoundedOutput } from "./BoundedOutput.ts";
import { LiveLines } from "./LiveLines.ts";
import { findProgram, programFolders } from "./ProgramPath.ts";
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

/** The most bytes of a program's stdout that are kept: more than any caller reads. */
const OUTPUT_LIMIT = 8 * 1024 * 1024;

/** The most bytes of each stream of a failed program that are kept, to show and to find out why it failed. */
const FAILURE_LIMIT = 64 * 1024;

/** The most characters of one line that are shown in the log. */
const LONGEST_LINE = 4096;

/** The longest address that is expected, in characters; a part of an address may not be recognised. */
const LONGEST_ADDRESS = 8192;

/** How long a program may take to end when it is told to, in seconds. */
const FAREWELL = 5;

/** SIGKILL takes effect at once, unless the program is stuck in a driver, as nvidia-smi may be: seconds. */
const KILL_LIMIT = 5;

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
        yield* Effect.timeoutOption(Deferred.await(ended), { seconds: KILL_LIMIT });
      }
      stdout.destroy();
      stderr.destroy();
    }),
  );

const chunksOf = (stream: Readable) =>
  NodeStream.fromReadable<Buffer, string>({ evaluate: () => stream, onError: String });

const leftOut = (bytes: number) => `\n[worker-tetra] ${bytes} bytes of output left out here\n`;

/** All that was kept of a program's output. */
const wholeText = ({ head, tail, missing }: BoundedOutput): string =>
  missing === 0
    ? Buffer.concat([head, tail]).toString()
    : head.toString() + leftOut(missing) + tail.toString();

/** The text up to its last space or line end: a part of an address would not be recognised. */
const upToSpace = (text: string): string => {
  const earliest = Math.max(0, text.length - LONGEST_ADDRESS);
  const at = text.slice(earliest).search(/\s\S*$/);
  return text.slice(0, at === -1 ? earliest : earliest + at);
};

const fromSpace = (text: string): string => {
  const at = text.slice(0, LONGEST_ADDRESS).search(/\s/);
  return text.slice(at === -1 ? LONGEST_ADDRESS : at);
};

/** The beginning and the end of what was kept, whatever its size. */
const failureText = ({ head, tail, missing }: BoundedOutput): string => {
  const all = missing === 0 ? Buffer.concat([head, tail]) : undefined;
  if (all !== undefined && all.byteLength <= FAILURE_LIMIT) return all.toString();
  const half = FAILURE_LIMIT / 2;
  const first = (all ?? head).subarray(0, half);
  const last = (all ?? tail).subarray(-half);
  const cut =
    (all ?? head).byteLength +
    (all === undefined ? tail.byteLength + missing : 0) -
    first.byteLength -
    last.byteLength;
  return upToSpace(first.toString()) + leftOut(cut) + fromSpace(last.toString());
};

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
      const { forPrograms, mask, maskStream } = yield* Environment;
      const folders = programFolders(forPrograms["PATH"], yield* jobFolders);

      /** Logs the lines of a program live. */
      const liveLog = (name: string, clock: Clock.Clock) => {
        let waiting: Array<string> = [];
        /** The rest of a line whose beginning was shown already. */
        let isRest = false;
        const lines = new LiveLines(
          (text) => {
            for (const line of text.split(/(?<=\n)/)) {
              if (!isRest && line.trim() !== "") waiting.push(line);
              isRest = !line.endsWith("\n");
            }
          },
          () => clock.currentTimeMillisUnsafe(),
          { leftOutNote: (count) => `${count} more lines left out here` },
        );
        const masked = maskStream((bytes) => lines.write(bytes));
        const flush = Effect.suspend(() => {
          const now = waiting;
          waiting = [];
          return Effect.forEach(
            now,
            (line) => Effect.logInfo(`${name}: ${excerpt(mask(line).trim(), LONGEST_LINE)}`),
            { discard: true },
          );
        });
        return {
          write: (bytes: Buffer) =>
            Effect.andThen(
              Effect.sync(() => masked.write(bytes)),
              flush,
            ),
          end: Effect.andThen(
            Effect.sync(() => {
              masked.end();
              lines.end();
            }),
            flush,
          ),
        };
      };

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
        const written = {
          stdout: new BoundedOutput(OUTPUT_LIMIT),
          stderr: new BoundedOutput(FAILURE_LIMIT),
        };
        const clock = yield* Clock.Clock;
        const log = options.live === undefined ? undefined : liveLog(options.live.name, clock);
        /** Keeps what a stream brings, and tells of it line by line. */
        const follow = (name: "stdout" | "stderr", stream: Readable) => {
          const live = options.live?.stream === name ? log : undefined;
          return chunksOf(stream).pipe(
            Stream.runForEach((bytes) => {
              written[name].write(bytes);
              return live?.write(bytes) ?? Effect.void;
            }),
            Effect.ensuring(live?.end ?? Effect.void),
          );
        };
        return yield* Effect.gen(function* () {
          const program = findProgram(command, folders);
          if (program === undefined) {
            return yield* Effect.fail(`spawn ${command} ENOENT: it is in no folder of PATH`);
          }
          // Programs that it starts by name must not come from a job's environment either.
          const environment = { ...forPrograms, ...options.environment, PATH: folders.join(":") };
          const { stdout, stderr, ended } = yield* running(program, args, environment, options);
          const exitCode = Deferred.await(ended);
          yield* Effect.raceFirst(
            Effect.all([follow("stdout", stdout), follow("stderr", stderr)], {
              concurrency: "unbounded",
            }),
            Effect.andThen(exitCode, Effect.sleep({ seconds: LAST_WORDS })),
          );
          const code = yield* exitCode;
          if (code === 0) return wholeText(written.stdout);
          return yield* failed(failureText(written.stderr) + failureText(written.stdout), code);
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
