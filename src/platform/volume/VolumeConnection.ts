import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";

import { Deferred, Duration, Effect, Exit, Option, Result, Schema } from "effect";

import { VOLUME_PROGRAM } from "../VolumeProgram.ts";
import { DiskFault } from "../files/DiskFault.ts";

/** For the traceback of a program that fails to start. */
const MAX_ERROR_CHARACTERS = 2000;

/** Time to exit after stdin was closed. A process with a hanging operation does not exit. */
const EXIT_TIMEOUT = Duration.millis(500);

const Reply = Schema.Struct({
  id: Schema.Int,
  value: Schema.optionalKey(Schema.Unknown),
  error: Schema.optionalKey(
    Schema.Struct({
      code: Schema.String,
      message: Schema.String,
      path: Schema.NullOr(Schema.String),
    }),
  ),
  progress: Schema.optionalKey(Schema.Boolean),
});

const decodeReply = Schema.decodeUnknownOption(Schema.fromJsonString(Reply));

/** A request without a reply yet. */
export interface PendingRequest {
  readonly id: number;
  readonly reply: Deferred.Deferred<unknown, DiskFault>;
  /** Whether it reported progress since this was last set to false. */
  hasProgressed: boolean;
}

/** How the process is started. */
export interface VolumeCommand {
  readonly python: string;
  readonly environment: Readonly<Record<string, string>>;
  /** The volume's mount point, for messages. */
  readonly volume: string;
  /** Folders below which links are not followed. */
  readonly roots: ReadonlyArray<string>;
}

/** A process for operations on the volume. The worker never waits for it without a limit. */
export class VolumeConnection {
  private readonly volume: string;
  private readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  private readonly pending = new Map<number, PendingRequest>();
  private readonly exited = Deferred.makeUnsafe<void>();
  private lastId = 0;
  private line = "";
  private errors = "";
  private isOpen = true;

  constructor({ python, environment, volume, roots }: VolumeCommand) {
    this.volume = volume;
    this.child = spawn(python, ["-I", "-S", VOLUME_PROGRAM, JSON.stringify(roots)], {
      cwd: "/",
      env: environment,
      // Ctrl-C is meant for the worker.
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
    });
    const { child } = this;
    child.stdout.setEncoding("latin1").on("data", (text: string) => this.receive(text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.errors = (this.errors + text).slice(-MAX_ERROR_CHARACTERS);
    });
    child.stdin.on("error", () => {});
    child.once("error", (error) => this.ended(error.message));
    child.once("exit", () => Deferred.doneUnsafe(this.exited, Exit.void));
    child.once("close", (code, signal) =>
      this.ended([`it ended with ${signal ?? code}`, this.errors.trim()].join("\n").trim()),
    );
    child.unref();
  }

  /** Whether requests can be sent. */
  get isUsable(): boolean {
    return this.isOpen;
  }

  send(operation: string, args: object): PendingRequest {
    this.lastId += 1;
    const request: PendingRequest = {
      id: this.lastId,
      reply: Deferred.makeUnsafe(),
      hasProgressed: false,
    };
    this.pending.set(request.id, request);
    this.write({ id: request.id, op: operation, args });
    return request;
  }

  /** Stops an operation whose reply is not needed any more. */
  cancel({ id }: PendingRequest): void {
    if (this.pending.delete(id)) this.write({ cancel: id });
  }

  /** Kills the process without waiting for its end, and fails all requests. */
  abandon(fault: DiskFault): void {
    this.child.kill("SIGKILL");
    this.close(fault);
  }

  /** Ends the process; waits only a short time if it hangs. */
  readonly end: Effect.Effect<void> = Effect.suspend(() => {
    if (!this.isOpen) return Effect.void;
    this.child.stdin.end();
    return Effect.timeoutOption(Deferred.await(this.exited), EXIT_TIMEOUT).pipe(
      Effect.andThen(Effect.sync(() => this.abandon(this.fault("the worker stops")))),
    );
  });

  private write(message: object): void {
    this.child.stdin.write(`${JSON.stringify(message)}\n`);
  }

  private receive(text: string): void {
    const lines = (this.line + text).split("\n");
    this.line = lines.pop() ?? "";
    for (const line of lines) this.complete(line);
  }

  private complete(line: string): void {
    const reply = decodeReply(line);
    if (Option.isNone(reply)) return;
    const { id, value, error, progress } = reply.value;
    const request = this.pending.get(id);
    if (request === undefined) return;
    if (progress === true) {
      request.hasProgressed = true;
      return;
    }
    this.pending.delete(id);
    const outcome =
      error === undefined
        ? Exit.succeed(value)
        : Exit.fail(
            new DiskFault({
              path: error.path ?? this.volume,
              code: error.code,
              problem: "can't be accessed",
              detail: error.message,
            }),
          );
    Deferred.doneUnsafe(request.reply, outcome);
  }

  private ended(reason: string): void {
    if (this.isOpen) this.close(this.fault(`the process for the volume failed: ${reason}`));
  }

  private close(fault: DiskFault): void {
    this.isOpen = false;
    for (const { reply } of this.pending.values()) Deferred.doneUnsafe(reply, Exit.fail(fault));
    this.pending.clear();
    const { stdin, stdout, stderr } = this.child;
    for (const stream of [stdin, stdout, stderr]) stream.destroy();
  }

  private fault(detail: string): DiskFault {
    return new DiskFault({
      path: this.volume,
      code: "EPIPE",
      problem: "can't be accessed",
      detail,
    });
  }
}

/** Starts a process; fails with the reason if the system refuses. */
export const connect = (command: VolumeCommand): Result.Result<VolumeConnection, string> =>
  Result.try({ try: () => new VolumeConnection(command), catch: String });
