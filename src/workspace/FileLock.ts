import { spawn } from "node:child_process";
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";

import { Context, Effect, Layer, Option, Result, Schema, type Scope } from "effect";

import { Environment } from "../settings/Environment.ts";

export type LockMode = "exclusive" | "shared";

/** Locks can't be had here, or would not keep anybody out. */
export class LockUnavailable extends Schema.TaggedError<LockUnavailable>()("LockUnavailable", {
  path: Schema.String,
  reason: Schema.String,
}) {
  override get message(): string {
    return `${this.path} can't be locked: ${this.reason}`;
  }
}

/** A lock that is held until its scope closes. */
export interface HeldLock {
  /** The open file: a program that inherits it keeps the lock for as long as it lives. */
  readonly descriptor: number | undefined;
  /** Leaves word in the file of who holds it, for those who wait. */
  readonly sign: (text: string) => void;
}

const BUSY = 1;

/** What util-linux's flock(1) does, for machines without it. */
const WITH_PYTHON = `import fcntl, sys
try:
    fcntl.flock(3, getattr(fcntl, sys.argv[1]) | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(${BUSY})
`;

/**
 * Node has no flock(2). A program that inherits our descriptor locks the open file behind it, and that lock
 * stays with our descriptor when the program ends: closing it, or dying, frees it.
 */
const lockDescriptor = (
  path: string,
  fd: number,
  [command, args]: readonly [command: string, args: ReadonlyArray<string>],
  environment: Readonly<Record<string, string>>,
) =>
  Effect.callback<boolean, LockUnavailable | "missing">((resume) => {
    const child = spawn(command, args, {
      env: environment,
      stdio: ["ignore", "ignore", "pipe", fd],
    });
    let words = "";
    child.stderr?.on("data", (bytes: Buffer) => {
      words += bytes.toString();
    });
    child.once("error", (error) => {
      const missing = "code" in error && error.code === "ENOENT";
      resume(
        Effect.fail(missing ? "missing" : new LockUnavailable({ path, reason: error.message })),
      );
    });
    child.once("close", (code) => {
      if (code === 0) return resume(Effect.succeed(true));
      if (code === BUSY && words === "") return resume(Effect.succeed(false));
      resume(
        Effect.fail(
          new LockUnavailable({ path, reason: words.trim() || `${command} ended with ${code}` }),
        ),
      );
    });
    return Effect.sync(() => child.kill("SIGKILL"));
  });

/** A descriptor of our own; the file is created where it is missing, and its words are kept. */
const open = (path: string) =>
  Effect.acquireRelease(
    Effect.fromResult(
      Result.try({
        try: () => openSync(path, "a+"),
        catch: (error) =>
          new LockUnavailable({
            path,
            reason: error instanceof Error ? error.message : String(error),
          }),
      }),
    ),
    (fd) => Effect.sync(() => closeSync(fd)),
  );

/** `flock(2)` on files: it keeps out every process that asks for it in any language, and dies with its holder. */
export class FileLock extends Context.Service<
  FileLock,
  {
    /** One try; none when somebody else holds the lock. The file is created, and never removed. */
    readonly tryLock: (
      path: string,
      mode: LockMode,
    ) => Effect.Effect<Option.Option<HeldLock>, LockUnavailable, Scope.Scope>;
    /** The word that the last holder left in the file. */
    readonly holder: (path: string) => Option.Option<string>;
  }
>()("worker-tetra/workspace/FileLock") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const { forPrograms } = yield* Environment;

      const attempt = (path: string, fd: number, mode: LockMode) =>
        lockDescriptor(
          path,
          fd,
          ["flock", [mode === "shared" ? "-s" : "-x", "-n", "3"]],
          forPrograms,
        ).pipe(
          Effect.catchIf(
            (error) => error === "missing",
            () =>
              lockDescriptor(
                path,
                fd,
                ["python3", ["-c", WITH_PYTHON, mode === "shared" ? "LOCK_SH" : "LOCK_EX"]],
                forPrograms,
              ),
          ),
          Effect.mapError((error) =>
            error === "missing"
              ? new LockUnavailable({
                  path,
                  reason: "neither flock (of util-linux) nor python3 is on PATH; install one",
                })
              : error,
          ),
        );

      const tryLock = Effect.fn("FileLock.tryLock")(function* (path: string, mode: LockMode) {
        const fd = yield* open(path);
        if (!(yield* attempt(path, fd, mode))) return Option.none<HeldLock>();
        return Option.some<HeldLock>({
          descriptor: fd,
          sign: (text) => {
            Result.try(() => {
              ftruncateSync(fd, 0);
              writeSync(fd, text);
            });
          },
        });
      });

      return FileLock.of({
        tryLock,
        holder: (path) => {
          const text = Result.try(() => readFileSync(path, "utf8").trim());
          return Result.isSuccess(text) && text.success !== ""
            ? Option.some(text.success.slice(0, 200))
            : Option.none();
        },
      });
    }),
  );
}
